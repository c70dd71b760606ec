//! The tables of flags and the code in docs/, made from the program and its examples.
//!
//! A page marks a table with `<!-- flags: COMMAND -->` or, for the flags under a heading of the
//! help, `<!-- flags: COMMAND, HEADING -->`, a list of values with `<!-- values: COMMAND FLAG -->`,
//! and what a reload changes with `<!-- reload: COMMANDS -->`. `<!-- code: FILE | FIRST | LAST -->`
//! shows an example's source, from the line that starts with FIRST to the end of the item or
//! statement that starts with LAST. Each part ends with `<!-- end -->`. With
//! `RESOUND_WRITE_TABLES=1` the test writes the pages.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};

use super::Cli;
use super::load::check::CONFLICTS;
use crate::reload::RELOADABLE;

const END: &str = "<!-- end -->";

/// The page, with each marked part made anew.
fn made_anew(page: &str) -> String {
    let mut program = Cli::command();
    program.build();
    let mut text = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        writeln!(text, "{line}").unwrap();
        let Some((kind, what)) =
            line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")?.split_once(": "))
        else {
            continue;
        };
        text += &match kind {
            "flags" => {
                let (command, heading) = what.split_once(", ").map_or((what, None), |(name, of)| (name, Some(of)));
                table(command_of(&program, command), heading)
            }
            "values" => {
                let (command, flag) = what.split_once(' ').expect("COMMAND FLAG");
                values(command_of(&program, command), flag)
            }
            "reload" => reloadable(),
            "code" => code(what),
            _ => panic!("{line}"),
        };
        writeln!(text, "{END}").unwrap();
        lines.by_ref().find(|line| *line == END).unwrap_or_else(|| panic!("{line} has no end"));
    }
    text
}

fn command_of<'a>(program: &'a Command, name: &str) -> &'a Command {
    program.find_subcommand(name).unwrap_or_else(|| panic!("there is no command {name}"))
}

fn table(command: &Command, heading: Option<&str>) -> String {
    let is_listed = |arg: &&Arg| {
        arg.get_help_heading() == heading
            && arg.get_long().is_some_and(|long| !["help", "version"].contains(&long))
            && !arg.is_hide_set()
    };
    let rows: Vec<[String; 4]> = command.get_arguments().filter(is_listed).map(|arg| row(command, arg)).collect();
    assert!(!rows.is_empty(), "{} has no flags under {heading:?}", command.get_name());
    let with_conflicts = rows.iter().any(|[.., conflicts]| !conflicts.is_empty());
    let (head, line) = if with_conflicts { (" Not with |", " --- |") } else { ("", "") };
    let mut text = format!("| Flag | Meaning | Default |{head}\n| --- | --- | --- |{line}\n");
    for row in &rows {
        text += "|";
        for cell in &row[..3 + usize::from(with_conflicts)] {
            let space = if cell.is_empty() { "" } else { " " };
            text += &format!("{space}{cell} |");
        }
        text += "\n";
    }
    text
}

/// Flag, meaning, default, and what the flag does not go with.
fn row(command: &Command, arg: &Arg) -> [String; 4] {
    let takes_value = arg.get_action().takes_values();
    let value = match arg.get_value_names() {
        Some(names) if takes_value && arg.is_require_equals_set() => format!("[={}]", names[0]),
        Some(names) if takes_value => format!(" {}", names[0]),
        _ => String::new(),
    };
    let mut flag = format!("`--{}{value}`", arg.get_long().unwrap());
    if let Some(short) = arg.get_short() {
        write!(flag, ", `-{short}`").unwrap();
    }
    for alias in arg.get_visible_aliases().unwrap_or_default() {
        write!(flag, ", also `--{alias}`").unwrap();
    }
    let help = arg.get_help().unwrap_or_else(|| panic!("{flag} has no help")).to_string();
    let (meaning, noted) = match help.split_once(" [default: ") {
        Some((meaning, default)) => {
            let default = default.trim_end_matches(']');
            let is_value = default != "none" && !default.contains([' ', '`']);
            (meaning.to_string(), if is_value { format!("`{default}`") } else { default.into() })
        }
        None => (help, String::new()),
    };
    let choices: Vec<String> = match takes_value {
        true => {
            // The help leaves out the others too.
            let values = arg.get_possible_values().into_iter().filter(|value| !value.is_hide_set());
            values.map(|value| format!("`{}`", value.get_name())).collect()
        }
        false => Vec::new(),
    };
    let meaning = match &choices[..] {
        [] => meaning,
        [only] => format!("{meaning}: {only}"),
        [first @ .., last] => format!("{meaning}: {} or {last}", first.join(", ")),
    };
    let default = match arg.get_default_values() {
        [value, ..] if takes_value => format!("`{}`", value.to_string_lossy()),
        _ => noted,
    };
    [flag, meaning.replace('|', "\\|"), default, conflicts(command, arg).join(", ")]
}

/// What a flag does not go with. For `load` the reasons are in the program's own table.
fn conflicts(command: &Command, arg: &Arg) -> Vec<String> {
    let flag = format!("--{}", arg.get_long().unwrap());
    if command.get_name() != "load" {
        let others = command.get_arg_conflicts_with(arg).into_iter().filter_map(Arg::get_long);
        return others.map(|other| format!("`--{other}`")).collect();
    }
    let mut all = Vec::new();
    for [one, other, _] in CONFLICTS {
        let (name, value) = one.split_once(' ').map_or((*one, None), |(name, value)| (name, Some(value)));
        if name != flag {
            continue;
        }
        let other = match other.split_once(" of ") {
            Some((other, of)) => format!("`{other}` of {of}"),
            None if *other == "a unix socket" => (*other).into(),
            None => format!("`{other}`"),
        };
        all.push(match value.filter(|_| all.is_empty()) {
            Some(value) => format!("with `{value}`: {other}"),
            None => other,
        });
    }
    all
}

fn values(command: &Command, flag: &str) -> String {
    let named = |arg: &&Arg| arg.get_long() == Some(flag);
    let arg = command.get_arguments().find(named).unwrap_or_else(|| panic!("there is no --{flag}"));
    let mut text = String::new();
    for value in arg.get_possible_values() {
        let help = value.get_help().unwrap_or_else(|| panic!("--{flag} {} has no help", value.get_name()));
        let help = help.to_string();
        let (first, rest) = help.split_at(1);
        // A name such as TCP keeps its letters.
        let is_word = rest.starts_with(|c: char| !c.is_uppercase());
        let first = if is_word { first.to_lowercase() } else { first.into() };
        writeln!(text, "- `{}`: {first}{rest}.", value.get_name()).unwrap();
    }
    text
}

/// What a reload changes, by part.
fn reloadable() -> String {
    let mut text = String::from("| A reload changes | For | Where |\n| --- | --- | --- |\n");
    let mut parts: Vec<_> = RELOADABLE.iter().map(|(_, part)| *part).collect();
    parts.dedup();
    for part in parts {
        let flags = RELOADABLE.iter().filter(|(_, other)| *other == part).map(|(flag, _)| format!("`--{flag}`"));
        let [connections, needs] = part.explained();
        writeln!(text, "| {} | {connections} | {needs} |", flags.collect::<Vec<_>>().join(", ")).unwrap();
    }
    text
}

/// Lines of an example, which compiles.
fn code(what: &str) -> String {
    let [file, first, last] = what.split(" | ").collect::<Vec<_>>()[..] else { panic!("FILE | FIRST | LAST: {what}") };
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect(file);
    let lines: Vec<&str> = source.lines().collect();
    let at = |start: &str, from: usize| {
        let found = lines[from..].iter().position(|line| line.trim_start().starts_with(start));
        from + found.unwrap_or_else(|| panic!("{file} has no line {start}"))
    };
    let first = at(first, 0);
    let last = at(last, first);
    let mut open = 0;
    let is_end = |line: &&str| {
        let count = |brackets: [char; 3]| line.matches(brackets).count();
        open = open + count(['(', '[', '{']) - count([')', ']', '}']);
        open == 0 && line.ends_with([';', '}'])
    };
    let end = last + lines[last..].iter().position(is_end).expect("an end");
    let indent = lines[first].len() - lines[first].trim_start().len();
    let shown: Vec<&str> = lines[first..=end].iter().map(|line| line.get(indent..).unwrap_or_default()).collect();
    format!("```rust\n{}\n```\n", shown.join("\n"))
}

#[test]
fn the_tables_and_the_code_of_the_guides_are_those_of_the_program() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut tables = 0;
    for entry in std::fs::read_dir(docs).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let page = std::fs::read_to_string(&path).unwrap();
        let anew = made_anew(&page);
        tables += anew.matches("<!-- flags: ").count();
        if page == anew {
            continue;
        }
        if std::env::var_os("RESOUND_WRITE_TABLES").is_some() {
            std::fs::write(&path, anew).unwrap();
            continue;
        }
        let differs = page.split('\n').zip(anew.split('\n')).find(|(old, new)| old != new);
        let differs = differs.map_or("the end differs".into(), |(old, new)| format!("{old:?} instead of {new:?}"));
        panic!("{}: {differs}; RESOUND_WRITE_TABLES=1 writes the tables anew", path.display());
    }
    assert!(tables >= 10, "{tables} tables");
}
