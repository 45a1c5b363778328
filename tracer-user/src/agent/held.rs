//! Figures that several threads share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits for its turn. Figures are true one by one: those that a thread left when it broke off are no
/// worse.
pub(super) fn held<T>(figures: &Mutex<T>) -> MutexGuard<'_, T> {
    figures.lock().unwrap_or_else(PoisonError::into_inner)
}
