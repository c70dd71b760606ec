//! [`EditedLine`]: the line being typed. rustyline edits it, keeps its history and completes file
//! names; this file maps keys to actions.

use std::path::PathBuf;

use rustyline::completion::longest_common_prefix;
use rustyline::history::{FileHistory, History, SearchDirection};
use rustyline::line_buffer::{ChangeListener, DeleteListener, Direction, LineBuffer, WordAction};
use rustyline::{At, Config, GraphemeClusterMode, Movement, Word};
use unicode_segmentation::UnicodeSegmentation;

use super::completion;
use crate::keys::{KeyPress, LONGEST};

/// Lines in the history.
const HISTORY: usize = 1000;
/// Changes that undo keeps.
const CHANGES: usize = 100;
const PROMPT: &str = "> ";

pub(super) struct EditedLine {
    buffer: LineBuffer,
    /// Measures columns as the area that draws the line does.
    clusters: GraphemeClusterMode,
    /// Some input was no UTF-8; U+FFFD stands for it.
    is_damaged: bool,
    /// The next key is inserted literally.
    is_quoted: bool,
    killed: KilledText,
    changes: Vec<(String, usize)>,
    last: LastKey,
    history: FileHistory,
    file: Option<PathBuf>,
    /// The history entry on the screen, and the line typed before it.
    recalled: Option<(usize, String)>,
    search: Option<HistorySearch>,
}

/// The effect of a key, besides a change of the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KeyEffect {
    Nothing,
    Done(Input),
    /// Text to show above the line.
    Show(String),
    Suspend,
    ClearScreen,
}

/// A finished input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A line, or several in a paste.
    Line(String),
    /// A line that is no UTF-8.
    NoText(String),
    /// Ctrl+C on an empty line.
    Leave,
    /// Ctrl+D on an empty line, or the terminal has gone.
    End,
}

/// The action of the last key, as far as the next depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LastKey {
    Typed,
    Killed,
    Completed,
    Other,
}

/// Ctrl+R: the text to find, the place in the history, and the line before the search.
struct HistorySearch {
    wanted: String,
    at: usize,
    before: (String, usize),
    failed: bool,
}

/// Text deleted by word or by line, for Ctrl+Y.
#[derive(Default)]
struct KilledText {
    text: String,
    is_kept: bool,
    goes_on: bool,
}

impl DeleteListener for KilledText {
    fn start_killing(&mut self) {
        self.is_kept = true;
    }

    fn delete(&mut self, _: usize, text: &str, direction: Direction) {
        if !self.is_kept {
            return;
        }
        if !std::mem::replace(&mut self.goes_on, true) {
            self.text.clear();
        }
        let at = if direction == Direction::Forward { self.text.len() } else { 0 };
        self.text.insert_str(at, text);
    }

    fn stop_killing(&mut self) {
        self.is_kept = false;
    }
}

impl ChangeListener for KilledText {
    fn insert_char(&mut self, _: usize, _: char) {}
    fn insert_str(&mut self, _: usize, _: &str) {}
    fn replace(&mut self, _: usize, _: &str, _: &str) {}
}

impl EditedLine {
    /// An empty line, with the history from this file.
    pub(super) fn new(file: Option<PathBuf>) -> rustyline::Result<Self> {
        let config = Config::builder().max_history_size(HISTORY)?.history_ignore_space(true).build();
        let mut history = FileHistory::with_config(&config);
        // A path that may block, such as a FIFO, is no history file.
        if let Some(path) = file.as_ref().filter(|path| path.is_file()) {
            // A missing or unreadable file means an empty history.
            let _ = history.load(path);
        }
        Ok(Self {
            buffer: LineBuffer::with_capacity(LONGEST),
            clusters: GraphemeClusterMode::from_env(),
            is_damaged: false,
            is_quoted: false,
            killed: KilledText::default(),
            changes: Vec::new(),
            last: LastKey::Other,
            history,
            file,
            recalled: None,
            search: None,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The prompt and the line, and the byte offset of the cursor.
    pub(super) fn shown(&self) -> (String, usize) {
        let prompt = match &self.search {
            Some(search) => {
                let failed = if search.failed { "failed " } else { "" };
                format!("({failed}reverse-i-search)`{}': ", search.wanted)
            }
            None => PROMPT.into(),
        };
        let cursor = prompt.len() + self.buffer.pos();
        (prompt + self.buffer.as_str(), cursor)
    }

    /// The prompt and a finished line.
    pub(super) fn finished(line: &str) -> String {
        format!("{PROMPT}{line}")
    }

    pub(super) fn key(&mut self, key: KeyPress) -> KeyEffect {
        if let Some(outcome) = self.key_of_search(&key) {
            return outcome;
        }
        let last = std::mem::replace(&mut self.last, LastKey::Other);
        self.killed.goes_on = last == LastKey::Killed;
        if key == KeyPress::Ctrl('_') {
            if let Some((text, at)) = self.changes.pop() {
                self.set(&text, at);
            }
            return KeyEffect::Nothing;
        }
        // Characters typed in a row are one change.
        let goes_on = last == LastKey::Typed && matches!(key, KeyPress::Char(_));
        let before = (!goes_on).then(|| (self.buffer.as_str().to_string(), self.buffer.pos()));
        let effect = match (std::mem::take(&mut self.is_quoted), key) {
            (true, KeyPress::Ctrl(c)) => self.insert(&char::from(c.to_ascii_uppercase() as u8 ^ b'@').to_string()),
            (_, key) => self.edit(key, last),
        };
        if let Some(before) = before.filter(|before| before.0 != self.buffer.as_str())
            && !matches!(effect, KeyEffect::Done(_))
        {
            self.changes.push(before);
            self.changes.drain(..self.changes.len().saturating_sub(CHANGES));
        }
        effect
    }

    fn edit(&mut self, key: KeyPress, last: LastKey) -> KeyEffect {
        match key {
            KeyPress::Char(c) => {
                self.last = LastKey::Typed;
                return self.insert(c.encode_utf8(&mut [0; 4]));
            }
            KeyPress::Pasted(text, is_whole) => {
                self.is_damaged |= !is_whole;
                return self.insert(&text);
            }
            KeyPress::NotUtf8 => {
                self.is_damaged = true;
                return self.insert("\u{fffd}");
            }
            KeyPress::Ctrl('y') => {
                let killed = self.killed.text.clone();
                return self.insert(&killed);
            }
            KeyPress::TooLong => return too_long(),
            KeyPress::Ctrl('m' | 'j') => return self.accept(),
            KeyPress::Ctrl('i') => return self.complete(last == LastKey::Completed),
            KeyPress::Ctrl('c') if self.buffer.is_empty() => return KeyEffect::Done(Input::Leave),
            KeyPress::Ctrl('d') if self.buffer.is_empty() => return KeyEffect::Done(Input::End),
            KeyPress::EndOfInput => return KeyEffect::Done(Input::End),
            KeyPress::Ctrl('l') => return KeyEffect::ClearScreen,
            KeyPress::Ctrl('z') => return KeyEffect::Suspend,
            KeyPress::Ctrl('q' | 'v') => self.is_quoted = true,
            KeyPress::Ctrl('r') => {
                let before = (self.buffer.as_str().to_string(), self.buffer.pos());
                self.search =
                    Some(HistorySearch { wanted: String::new(), at: self.history.len(), before, failed: false });
            }
            // The row above or below, or another entry of the history.
            KeyPress::Ctrl('p') if !self.move_row(false) => self.recall(|at, _| at.checked_sub(1)),
            KeyPress::Ctrl('n') if !self.move_row(true) => self.recall(|at, _| Some(at + 1)),
            KeyPress::Alt('<') => self.recall(|_, _| Some(0)),
            KeyPress::Alt('>') => self.recall(|_, end| Some(end)),
            KeyPress::Ctrl('a') => drop(self.buffer.move_home()),
            KeyPress::Ctrl('e') => drop(self.buffer.move_end()),
            KeyPress::Ctrl('b') => drop(self.buffer.move_backward(1)),
            KeyPress::Ctrl('f') => drop(self.buffer.move_forward(1)),
            KeyPress::Alt('b') => drop(self.buffer.move_to_prev_word(Word::Emacs, 1)),
            KeyPress::Alt('f') => drop(self.buffer.move_to_next_word(At::AfterEnd, Word::Emacs, 1)),
            KeyPress::Ctrl('h') => drop(self.buffer.kill(&Movement::BackwardChar(1), &mut self.killed)),
            KeyPress::Delete | KeyPress::Ctrl('d') => {
                let _ = self.buffer.kill(&Movement::ForwardChar(1), &mut self.killed);
            }
            KeyPress::Ctrl('c') => self.kill(&Movement::WholeBuffer),
            KeyPress::Ctrl('k') => self.kill(&Movement::EndOfLine),
            KeyPress::Ctrl('u') => self.kill(&Movement::BeginningOfLine),
            KeyPress::Ctrl('w') => self.kill(&Movement::BackwardWord(1, Word::Big)),
            KeyPress::Alt('\x08') => self.kill(&Movement::BackwardWord(1, Word::Emacs)),
            KeyPress::Alt('d') => self.kill(&Movement::ForwardWord(1, At::AfterEnd, Word::Emacs)),
            KeyPress::Ctrl('t') => drop(self.buffer.transpose_chars(&mut self.killed)),
            KeyPress::Alt('t') => drop(self.buffer.transpose_words(1, &mut self.killed)),
            KeyPress::Alt('u') => drop(self.buffer.edit_word(WordAction::Uppercase, &mut self.killed)),
            KeyPress::Alt('l') => drop(self.buffer.edit_word(WordAction::Lowercase, &mut self.killed)),
            KeyPress::Alt('c') => drop(self.buffer.edit_word(WordAction::Capitalize, &mut self.killed)),
            _ => {}
        }
        KeyEffect::Nothing
    }

    fn insert(&mut self, text: &str) -> KeyEffect {
        // The buffer has a fixed capacity, and refuses text that does not fit.
        match self.buffer.yank(text, 1, &mut self.killed) {
            None if !text.is_empty() => too_long(),
            _ => KeyEffect::Nothing,
        }
    }

    fn kill(&mut self, movement: &Movement) {
        self.buffer.kill(movement, &mut self.killed);
        self.last = LastKey::Killed;
    }

    fn set(&mut self, text: &str, at: usize) {
        if text.len() <= LONGEST {
            self.buffer.update(text, at, &mut self.killed);
        }
    }

    fn accept(&mut self) -> KeyEffect {
        let line = self.buffer.as_str().to_string();
        self.set("", 0);
        (self.recalled, self.last) = (None, LastKey::Other);
        self.changes.clear();
        if std::mem::take(&mut self.is_damaged) && line.contains('\u{fffd}') {
            return KeyEffect::Done(Input::NoText(line));
        }
        // An unwritable history is not worth a message.
        if self.history.add(&line).unwrap_or(false)
            && let Some(path) = &self.file
        {
            let _ = self.history.append(path);
        }
        KeyEffect::Done(Input::Line(line))
    }

    /// Shows another history entry; after the last one is the line typed before.
    fn recall(&mut self, which: impl Fn(usize, usize) -> Option<usize>) {
        let end = self.history.len();
        let now = self.recalled.as_ref().map_or(end, |(at, _)| *at);
        let Some(wanted) = which(now, end).filter(|&wanted| wanted <= end && wanted != now) else { return };
        let typed = self.recalled.take().map_or_else(|| self.buffer.as_str().to_string(), |(_, typed)| typed);
        match self.history.get(wanted, SearchDirection::Forward) {
            Ok(Some(found)) => {
                let entry = found.entry.into_owned();
                self.set(&entry, entry.len());
                self.recalled = Some((wanted, typed));
            }
            _ => self.set(&typed, typed.len()),
        }
    }

    /// Moves to the row above or below in a paste of several. False if there is none.
    fn move_row(&mut self, down: bool) -> bool {
        let (text, at) = (self.buffer.as_str(), self.buffer.pos());
        let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let to = match down {
            true => text[at..].find('\n').map(|newline| at + newline + 1),
            false => start.checked_sub(1).map(|end| text[..end].rfind('\n').map_or(0, |newline| newline + 1)),
        };
        let Some(to) = to else { return false };
        let width = |cluster| usize::from(self.clusters.width(cluster));
        let column: usize = text[start..at].graphemes(true).map(width).sum();
        let row = text[to..].split('\n').next().unwrap_or_default();
        let mut end = 0;
        let mut reaches = |cluster| {
            end += width(cluster);
            end > column
        };
        let into = row.grapheme_indices(true).find(|(_, cluster)| reaches(cluster)).map_or(row.len(), |(at, _)| at);
        self.buffer.set_pos(to + into);
        true
    }

    /// The effect of a key during a search. `None` for a key that ends the search and has its usual
    /// effect.
    fn key_of_search(&mut self, key: &KeyPress) -> Option<KeyEffect> {
        let mut search = self.search.take()?;
        let last = self.history.len().saturating_sub(1);
        let (start, direction) = match key {
            KeyPress::Ctrl('r') => (search.at.checked_sub(1), SearchDirection::Reverse),
            KeyPress::Ctrl('s') => (Some(search.at + 1), SearchDirection::Forward),
            KeyPress::Char(c) => {
                search.wanted.push(*c);
                (Some(search.at), SearchDirection::Reverse)
            }
            KeyPress::Ctrl('h') => {
                search.wanted.pop();
                (Some(last), SearchDirection::Reverse)
            }
            KeyPress::Ctrl('c' | 'g') => {
                self.set(&search.before.0, search.before.1);
                return Some(KeyEffect::Nothing);
            }
            KeyPress::CursorAt(_) => (None, SearchDirection::Reverse),
            _ => return None,
        };
        let found = start.and_then(|start| {
            let start = if direction == SearchDirection::Reverse { start.min(last) } else { start };
            let found = self.history.search(&search.wanted, start, direction).ok().flatten()?;
            Some((found.idx, found.pos, found.entry.into_owned()))
        });
        search.failed = found.is_none() && !search.wanted.is_empty();
        if let Some((at, position, entry)) = found.filter(|_| !search.wanted.is_empty()) {
            search.at = at;
            self.set(&entry, position);
        }
        self.search = Some(search);
        Some(KeyEffect::Nothing)
    }

    /// Completes the word as far as the candidates agree; the second time lists them.
    fn complete(&mut self, again: bool) -> KeyEffect {
        let at = self.buffer.pos();
        let (start, words) = completion::find(self.buffer.as_str(), at);
        let Some(certain) = longest_common_prefix(&words) else { return KeyEffect::Nothing };
        if certain.len() > at - start || words.len() == 1 {
            self.buffer.replace(start..at, certain, &mut self.killed);
            return KeyEffect::Nothing;
        }
        self.last = LastKey::Completed;
        if again { KeyEffect::Show(completion::listed(&words)) } else { KeyEffect::Nothing }
    }
}

fn too_long() -> KeyEffect {
    KeyEffect::Show(format!(
        "Not taken: a line has {} at most (/send sends files)\n",
        crate::units::bytes(LONGEST as u64)
    ))
}

/// The history file, in the folder of the XDG Base Directory Specification. `None` if the system
/// names no such folder.
pub(super) fn history_file() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = if cfg!(windows) {
        folder("LOCALAPPDATA")?
    } else {
        folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?
    };
    let ours = state.join("resound");
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&ours).ok()?;
    Some(ours.join("history"))
}

#[cfg(test)]
mod tests;
