//! [`Acknowledgement`]: how the threads of an engine report that they have done what was asked.

use std::convert::Infallible;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Given to a thread with what it is asked, and dropped once that is done. A thread that has ended
/// has dropped it too.
#[derive(Clone)]
pub(crate) struct Acknowledgement {
    _sender: UnboundedSender<Infallible>,
}

/// All clones of one [`Acknowledgement`].
pub(crate) struct Acknowledgements(UnboundedReceiver<Infallible>);

impl Acknowledgement {
    pub(crate) fn new() -> (Self, Acknowledgements) {
        let (sender, receiver) = unbounded_channel();
        (Self { _sender: sender }, Acknowledgements(receiver))
    }
}

impl Acknowledgements {
    /// Waits until each has been dropped. Needs no runtime.
    pub(crate) async fn all(mut self) {
        while self.0.recv().await.is_some() {}
    }
}
