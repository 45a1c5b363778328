//! Counts of cases and of the kernel, for the metrics page and for OTLP.

use std::sync::PoisonError;

use super::Exporter;
use super::documents::Shared;
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
            let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
            metrics.case(case, origin);
        }
    }

    fn input(&mut self, input: &Input) {
        match input {
            Input::Start(start) => {
                self.origin = Some(Origin::new(start, ResourceConfig::default()));
            }
            Input::Backends(backends) => {
                let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
                metrics.backends(backends);
            }
            Input::Losses(losses) => {
                let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
                metrics.losses(losses);
            }
            _ => {}
        }
    }

    fn tick(&mut self) {}

    fn finish(&mut self) {}
}
