//! [`Screen`]: what is to be shown, and how much of it has been.
//!
//! The editor shows a text above the line being typed, but only while it reads one, and it does not say when it has. So texts wait here until
//! it reads, and are taken as shown when it draws without anything having been typed. What it has not shown at the end we show ourselves.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

/// Bytes that may wait to be shown before whoever says more has to wait.
const ENOUGH: usize = 64 * 1024;
/// How long the editor may take for what it has still to show at the end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Shared by the conversation, the editor's thread and the printer's.
#[derive(Default)]
pub(super) struct Screen {
    state: Mutex<State>,
    changed: Condvar,
    room: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<String>,
    waiting_bytes: usize,
    /// Given to the editor, and not drawn yet.
    given: Option<String>,
    /// Is a line to be read?
    asked: bool,
    /// Is it being read?
    reading: bool,
    /// Is it empty so far?
    empty: bool,
    /// Is the next drawing due to a key?
    typed: bool,
    /// Ctrl+C has asked to leave. (An editor that is interrupted by a signal says the same as one that was left.)
    left: bool,
    closed: bool,
}

/// What the end of a conversation finds.
pub(super) struct Left {
    /// Was a line being read? Then its prompt stands at the cursor.
    pub(super) reading: bool,
    /// Had nothing been typed on it?
    pub(super) empty: bool,
    /// What has not been shown.
    pub(super) unseen: String,
}

impl Screen {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The editor is about to draw a line that is being typed.
    pub(super) fn typed(&self, empty: bool) {
        let mut state = self.state();
        (state.reading, state.empty, state.typed) = (true, empty, true);
        self.changed.notify_all();
    }

    /// The editor draws. If not for a key, then for a text that it has just shown.
    pub(super) fn drawn(&self) {
        let mut state = self.state();
        if !std::mem::take(&mut state.typed) {
            state.given = None;
        }
        self.changed.notify_all();
    }

    /// The editor is told to read a line.
    pub(super) fn asked(&self) {
        self.state().asked = true;
    }

    /// The editor is about to accept a line, and to stop showing texts.
    pub(super) fn accepts(&self) {
        let mut state = self.state();
        // Its last drawing, if one is to come, is not due to a text.
        (state.reading, state.typed) = (false, true);
    }

    /// Ctrl+C asks to leave.
    pub(super) fn leave(&self) {
        self.state().left = true;
    }

    /// Was it asked to leave?
    pub(super) fn is_left(&self) -> bool {
        self.state().left
    }

    /// The editor has read a line.
    pub(super) fn has_read(&self) {
        let mut state = self.state();
        (state.asked, state.reading, state.typed) = (false, false, false);
        self.changed.notify_all();
    }

    /// Leaves a text to be shown.
    pub(super) fn post(&self, text: String) {
        let mut state = self.state();
        if !text.is_empty() {
            state.waiting_bytes += text.len();
            state.waiting.push_back(text);
            self.changed.notify_all();
        }
    }

    /// Waits until there is room for more.
    pub(super) async fn room(&self) {
        while self.state().waiting_bytes > ENOUGH {
            self.room.notified().await;
        }
    }

    /// Gives the editor what waits, whenever it reads and has shown what it was given before, until the end. `give` must not wait for the
    /// editor: it is called while a line that is being accepted has to wait for us. So nothing is given to an editor that does not read.
    pub(super) fn serve(&self, mut give: impl FnMut(String)) {
        let mut state = self.state();
        while !state.closed {
            if state.reading && !state.waiting.is_empty() && state.given.is_none() {
                let text = String::from_iter(state.waiting.drain(..));
                state.waiting_bytes = 0;
                state.given = Some(text.clone());
                give(text);
                self.room.notify_one();
            }
            state = self.changed.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// Lets the editor show what it can still show, and takes back the rest.
    pub(super) fn close(&self) -> Left {
        // An editor that is about to read must not change the terminal behind our back.
        let has_more =
            |state: &mut State| state.asked && !(state.reading && state.waiting.is_empty() && state.given.is_none());
        let waited = self.changed.wait_timeout_while(self.state(), LAST_WORDS, has_more);
        let (mut state, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        state.closed = true;
        self.changed.notify_all();
        let unseen = state.given.take().into_iter().chain(std::mem::take(&mut state.waiting)).collect();
        Left { reading: state.reading, empty: state.empty, unseen }
    }
}
