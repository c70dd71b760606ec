//! Completions and manual pages, from the same definitions as the flags themselves.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args::Cli;
use crate::findings::Findings;

pub(crate) fn completions(shell: Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "resound", &mut script);
    Findings.write_all(&script)?;
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
    Findings.write_all(&pages.swap_remove(at).1)?;
    Ok(ExitCode::SUCCESS)
}

/// The pages, by name: one of the program, and one of each command.
fn pages() -> Vec<(String, Vec<u8>)> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let commands = program.get_subcommands().cloned().map(|command| {
        let name = format!("resound-{}", command.get_name());
        (name.clone(), render(command.display_name(name)))
    });
    let mut pages: Vec<_> = commands.collect();
    pages.insert(0, ("resound".into(), render(program)));
    pages
}

fn render(command: Command) -> Vec<u8> {
    let mut page = Vec::new();
    // Into memory: this cannot fail.
    let _ = Man::new(command).render(&mut page);
    page
}
