//! Counts of cases and of the kernel, for the metrics page and for OTLP.

use super::Exporter;
use super::documents::Shared;
use crate::agent::held::held;
use crate::case::Case;
use crate::event::Input;
use crate::export::{Origin, ResourceConfig};
use crate::session::Session;

/// Keeps the counts.
pub(in crate::agent) struct Counts {
    metrics: Shared,
    origin: Option<Origin>,
}

impl Counts {
    pub(in crate::agent) fn new(metrics: Shared) -> Self {
        Self {
            metrics,
            origin: None,
        }
    }
}

impl Exporter for Counts {
    fn case(&mut self, _: &Session, case: &Case) {
        if let Some(origin) = &self.origin {
            held(&self.metrics).case(case, origin);
        }
    }

    fn input(&mut self, input: &Input) {
        match input {
            Input::Start(start) => {
                self.origin = Some(Origin::new(start, ResourceConfig::default()));
                held(&self.metrics).session_began();
            }
            Input::Backends(backends) => held(&self.metrics).backends(backends),
            Input::Losses(losses) => held(&self.metrics).losses(losses),
            _ => {}
        }
    }

    fn tick(&mut self) {}

    fn finish(&mut self) {}
}
