//! What the line editor is told and tells: completions, what Ctrl+C means, and when it has drawn.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{
    Cmd, ColorMode, CompletionType, ConditionalEventHandler, Config, Context, Editor, Event, EventContext,
    EventHandler, Helper, KeyCode, KeyEvent, Modifiers, Movement, RepeatCount,
};

use super::before::Before;
use super::command::COMMANDS;
use super::screen::Screen;

/// Lines that are remembered.
const HISTORY: usize = 1000;

pub(super) type LineEditor = Editor<Watcher, DefaultHistory>;

/// The editor, with its history from the file, if there is one.
pub(super) fn editor(screen: Arc<Screen>, before: Before, history: Option<&PathBuf>) -> rustyline::Result<LineEditor> {
    #[cfg(not(unix))]
    let _ = before;
    let config = Config::builder()
        .max_history_size(HISTORY)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        // It has no colours of its own; without this it would not tell us when it draws where NO_COLOR is set.
        .color_mode(ColorMode::Forced)
        .build();
    let mut editor = Editor::with_config(config)?;
    for key in [KeyEvent(KeyCode::Enter, Modifiers::NONE), KeyEvent::ctrl('J'), KeyEvent::ctrl('M')] {
        editor.bind_sequence(key, EventHandler::Conditional(Box::new(Accept(Arc::clone(&screen)))));
    }
    editor.bind_sequence(KeyEvent::ctrl('C'), EventHandler::Conditional(Box::new(ClearOrLeave(Arc::clone(&screen)))));
    editor.bind_sequence(KeyEvent::ctrl('D'), EventHandler::Conditional(Box::new(DeleteOrEnd(Arc::clone(&screen)))));
    #[cfg(unix)]
    editor.bind_sequence(KeyEvent::ctrl('Z'), EventHandler::Conditional(Box::new(Suspend(before))));
    editor.set_helper(Some(Watcher { screen, files: FilenameCompleter::new() }));
    // What blocks when it is read is no history.
    if let Some(path) = history.filter(|path| path.is_file()) {
        // None yet, or none that can be read: then the history begins here.
        let _ = editor.load_history(path);
    }
    Ok(editor)
}

/// Where the lines that were typed are remembered: a file of the user's own, in the folder that the XDG Base Directory Specification has for
/// it. `None` where the system names no such folder.
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

/// A line is about to be accepted: the screen must know before the editor stops showing texts.
struct Accept(Arc<Screen>);

impl ConditionalEventHandler for Accept {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        self.0.accepts();
        None
    }
}

/// Ctrl+C clears the line, and leaves where there is none.
struct ClearOrLeave(Arc<Screen>);

impl ConditionalEventHandler for ClearOrLeave {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        if !context.line().is_empty() {
            return Some(Cmd::Kill(Movement::WholeBuffer));
        }
        self.0.accepts();
        self.0.leave();
        None
    }
}

/// Ctrl+D deletes the character at the cursor, and ends the input where there is none at all.
struct DeleteOrEnd(Arc<Screen>);

impl ConditionalEventHandler for DeleteOrEnd {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, context: &EventContext<'_>) -> Option<Cmd> {
        if context.line().is_empty() {
            self.0.accepts();
        }
        None
    }
}

/// Ctrl+Z gives the shell its terminal back as it was. [`Before`] takes it again when the program goes on.
#[cfg(unix)]
struct Suspend(Before);

#[cfg(unix)]
impl ConditionalEventHandler for Suspend {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        self.0.suspend();
        Some(Cmd::Noop)
    }
}

/// Tells the screen what the editor does, as far as the editor lets us know.
pub(super) struct Watcher {
    screen: Arc<Screen>,
    files: FilenameCompleter,
}

impl Helper for Watcher {}

impl Validator for Watcher {}

/// Both are called whenever a line is about to be drawn because of a key, and neither when it is because of a text above it. The second asks
/// for the whole line to be drawn, even where a character at its end would do, so that each of these calls is followed by a drawing.
impl Hinter for Watcher {
    type Hint = String;

    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.screen.typed(line.is_empty());
        None
    }
}

impl Highlighter for Watcher {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        self.screen.drawn();
        Cow::Borrowed(prompt)
    }

    fn highlight_char(&self, line: &str, _: usize, kind: CmdKind) -> bool {
        match kind {
            // The last drawing of a line that is being accepted.
            CmdKind::ForcedRefresh => self.screen.accepts(),
            _ => self.screen.typed(line.is_empty()),
        }
        true
    }
}

impl Completer for Watcher {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, context: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        if line.starts_with("/send ") {
            return self.files.complete(line, at, context);
        }
        let Some(typed) = line[..at].strip_prefix('/') else { return Ok((at, Vec::new())) };
        let names = COMMANDS.iter().filter(|(name, ..)| name.starts_with(typed));
        let pairs = names.map(|(name, argument, _)| {
            let replacement = if argument.is_empty() { format!("/{name}") } else { format!("/{name} ") };
            Pair { display: format!("/{name}"), replacement }
        });
        Ok((0, pairs.collect()))
    }
}
