//! Completions and manual pages, generated from the definitions of the flags.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Cli;
use crate::args::examples::{Example, examples, grammar};
use crate::result_output::ResultOutput;

pub(crate) fn completions(shell: Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "resound", &mut script);
    ResultOutput.write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes one page to stdout, or all of them into a folder.
pub(crate) fn man(page: Option<&str>, folder: Option<&Path>) -> Result<ExitCode> {
    let mut pages = pages();
    if let Some(folder) = folder {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (name, text) in pages {
            let path = folder.join(format!("{name}.1"));
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = match page {
        None | Some("resound") => "resound".into(),
        Some(page) => format!("resound-{page}"),
    };
    let Some(at) = pages.iter().position(|(name, _)| *name == wanted) else {
        let names: Vec<_> = pages.iter().filter_map(|(name, _)| name.strip_prefix("resound-")).collect();
        bail!("there is no page '{}'; there are: {}", page.unwrap_or_default(), names.join(", "));
    };
    ResultOutput.write_all(&pages.swap_remove(at).1)?;
    Ok(ExitCode::SUCCESS)
}

/// The pages, by name: one for the program, and one for each command.
fn pages() -> Vec<(String, Vec<u8>)> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let commands = program.get_subcommands().cloned().map(|command| {
        let name = command.get_name().to_string();
        let page = format!("resound-{name}");
        (page.clone(), render(command.display_name(page), &name))
    });
    let mut pages: Vec<_> = commands.collect();
    pages.insert(0, ("resound".into(), render(program, "resound")));
    pages
}

/// A page with the usual sections, and examples that can be copied.
fn render(command: Command, name: &str) -> Vec<u8> {
    let notes = command.get_after_help().map(ToString::to_string);
    let (usage, has_commands) = (synopsis(&command), command.has_subcommands());
    let page = Man::new(command.override_usage(usage));
    let mut text = Vec::new();
    let mut write = || {
        page.render_title(&mut text)?;
        page.render_name_section(&mut text)?;
        page.render_synopsis_section(&mut text)?;
        page.render_description_section(&mut text)?;
        page.render_options_section(&mut text)?;
        if has_commands {
            page.render_subcommands_section(&mut text)?;
        }
        writeln!(text, ".SH EXAMPLES")?;
        for Example(what, line) in examples(name) {
            writeln!(text, ".PP\n{}:\n.nf\n.RS\n{}\n.RE\n.fi", escaped(what), escaped(line))?;
        }
        if let Some((heading, grammar)) = grammar(name) {
            writeln!(text, ".SH {}", heading.to_uppercase())?;
            grammar.lines().try_for_each(|line| writeln!(text, "{}\n.br", escaped(line.trim())))?;
        }
        for (note, section) in notes.iter().flat_map(|notes| notes.lines()).zip(["ADDRESSES", "EXIT STATUS"]) {
            let (_, note) = note.split_once(": ").unwrap_or_default();
            writeln!(text, ".SH \"{section}\"\n{}", escaped(note))?;
        }
        page.render_version_section(&mut text)
    };
    // Into memory: this cannot fail.
    let _: std::io::Result<()> = write();
    text
}

/// The command with each flag and its value, which the synopsis of clap leaves out.
fn synopsis(command: &Command) -> String {
    let mut usage = command.get_bin_name().unwrap_or(command.get_name()).to_string();
    let is_shown = |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    let (positional, flags): (Vec<_>, Vec<_>) =
        command.get_arguments().filter(is_shown).partition(|arg| arg.is_positional());
    for flag in flags {
        let value = match flag.get_value_names() {
            Some(names) if flag.get_action().takes_values() => format!(" {}", names.join(" ")),
            _ => String::new(),
        };
        let short = flag.get_short().map(|short| format!("-{short}|")).unwrap_or_default();
        let repeats = if matches!(flag.get_action(), ArgAction::Append) { "..." } else { "" };
        usage += &format!(" [{short}--{}{value}]{repeats}", flag.get_long().unwrap_or_default());
    }
    for arg in positional {
        let name = arg.get_value_names().map(|names| names.join(" ")).unwrap_or_default();
        let (open, close) = if arg.is_required_set() { ("", "") } else { ("[", "]") };
        let repeats = if matches!(arg.get_action(), ArgAction::Append) { "..." } else { "" };
        usage += &format!(" {open}{name}{close}{repeats}");
    }
    if command.has_subcommands() {
        usage += " COMMAND";
    }
    usage
}

/// Escapes text for roff, so that commands can be copied.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\`").replace('~', "\\(ti")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_has_examples_to_copy_and_the_values_of_flags() {
        let pages = pages();
        assert_eq!(pages.len(), 12);
        for (name, page) in &pages {
            let page = String::from_utf8_lossy(page);
            let command = name.strip_prefix("resound-").unwrap_or(name);
            for Example(_, line) in examples(command) {
                assert!(page.contains(&format!("\n{}\n.RE", escaped(line))), "{name}: {line}");
            }
        }
        let page_of = |name: &str| pages.iter().find(|(page, _)| page == name).map(|(_, text)| text.clone());
        let server = String::from_utf8(page_of("resound-server").unwrap()).unwrap();
        assert!(server.contains("[\\-\\-mode MODE]") && server.contains("[\\-\\-listen ADDRESS]..."), "{server}");
        assert!(server.contains(".SH \"EXIT STATUS\"\n0 ok;"), "{server}");
        assert_eq!(escaped("printf 'a\\n' -x"), "printf \\(aqa\\en\\(aq \\-x");
    }
}
