//! Benchmarks: what why502 costs, and how fast it is against the tools that a person would reach for
//! otherwise.

pub mod agent;
pub mod logs;
pub mod overhead;
pub mod page;
pub mod scale;

mod alb;
mod child;
mod fdinfo;
mod load;
mod machine;
mod open_loop;
mod site;
mod target;
mod usage;
mod wrk;

/// The value in the middle; 0 if there is none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
