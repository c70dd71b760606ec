//! A lab at a terminal.

use super::{has, is_allowed};
use crate::program::terminal::Terminal;

#[test]
fn a_shell_in_a_lab_has_the_terminal_and_gives_it_back() {
    if !has("bash", "a shell in a lab") {
        return;
    }
    let shell = "PS1='inside> ' bash --norc --noprofile";
    let script = format!("\"$resound\" lab -q -- sh -c \"{shell}\"; echo after $?; read line; echo \"got $line\"");
    let mut terminal = Terminal::start_shell(&script);
    terminal.until_seen("inside>");
    // Ctrl+C ends a command of the shell, and neither the shell nor the lab.
    terminal.line("sh -c 'echo be\"\"gun; exec sleep 1000'");
    terminal.until_seen("begun");
    terminal.keys("\x03");
    terminal.line("echo rc=$?");
    terminal.until_seen("rc=130");
    terminal.line("exit 6");
    terminal.until_seen("after 6");
    // Without its terminal the outer shell could not read.
    terminal.line("a line");
    terminal.until_seen("got a line");
    assert_eq!(terminal.exit_code(), 0);
}

#[test]
fn ctrl_c_ends_a_command_in_a_lab_in_its_own_way() {
    if !has("bash", "Ctrl+C in a lab") {
        return;
    }
    let command = "trap 'echo caught; exit 8' INT; echo begun; while :; do sleep 1000 & wait; done";
    let mut terminal = Terminal::start(&["lab", "--seed", "4", "--", "bash", "-c", command]);
    terminal.until_seen("begun");
    terminal.keys("\x03");
    terminal.until_seen("caught");
    terminal.until_seen("seed 4; router: kept up");
    assert_eq!(terminal.exit_code(), 8);
}

#[test]
fn a_lab_in_the_background_leaves_the_terminal_to_the_shell() {
    if !is_allowed("a lab in the background of a shell") {
        return;
    }
    // With job control each job has a group of its own.
    let script = "set -m; \"$resound\" lab -q -- true & wait; echo after; read line; echo \"got $line\"";
    let mut terminal = Terminal::start_shell(script);
    terminal.until_seen("after");
    terminal.line("a line");
    terminal.until_seen("got a line");
    assert_eq!(terminal.exit_code(), 0);
}
