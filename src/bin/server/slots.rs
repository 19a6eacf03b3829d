//! How many clients are being served: one for each slot that is alive.
//!
//! A slot is given back by its drop, however its client's thread ends.

use std::sync::Arc;

/// All slots there are.
pub(crate) struct Slots(Arc<()>);

/// One client's place among those that are served at once.
pub(crate) struct Slot {
    _counted: Arc<()>,
}

impl Slots {
    pub(crate) fn new() -> Self {
        Slots(Arc::new(()))
    }

    pub(crate) fn take(&self) -> Slot {
        let _counted = Arc::clone(&self.0);
        Slot { _counted }
    }

    pub(crate) fn taken(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}
