//! The audit as it lies in the store.
