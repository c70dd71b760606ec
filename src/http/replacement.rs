//! [`Replacement`]: whether another process serves in the place of this one.

use crate::upgrade::HandedOver;

/// Whether another process serves in the place of this one. It has the listener then.
#[derive(Clone, Default)]
pub(crate) struct Replacement(Option<HandedOver>);

impl Replacement {
    pub(crate) fn of(handed_over: HandedOver) -> Self {
        Self(Some(handed_over))
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.0.as_ref().is_some_and(|handed_over| *handed_over.borrow())
    }

    /// Waits until it is complete: for ever where no process takes over.
    pub(crate) async fn completed(&mut self) {
        if let Some(handed_over) = &mut self.0
            && handed_over.wait_for(|&is_over| is_over).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}
