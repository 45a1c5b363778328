//! Completions and manual pages, made from the definition of the command line.

use std::io::{self, Write};

use clap::CommandFactory as _;

use super::args::Cli;
use super::error::UsageError;

/// The completion script for the shell.
pub(super) fn completions(shell: clap_complete::Shell, out: &mut impl Write) -> io::Result<()> {
    // The generator panics when writing fails, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "why502", &mut script);
    out.write_all(&script)
}

/// The manual page of a command, or of the program.
pub(super) fn man(command: Option<&str>, out: &mut impl Write) -> anyhow::Result<()> {
    let mut program = Cli::command();
    program.build();
    let page = match command {
        None => program,
        Some(name) => {
            let visible: Vec<_> = program
                .get_subcommands()
                .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
                .collect();
            let found = visible.iter().find(|sub| sub.get_name() == name);
            let names: Vec<_> = visible.iter().map(|sub| sub.get_name()).collect();
            let found = found.ok_or_else(|| {
                UsageError::new(
                    format!(
                        "there is no command {}",
                        crate::printable::printable(name, 60)
                    ),
                    format!("there are manual pages for {}", names.join(", ")),
                )
            })?;
            (*found).clone()
        }
    };
    clap_mangen::Man::new(page).render(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_has_a_script() {
        for shell in clap_complete::Shell::value_variants() {
            let mut script = Vec::new();
            completions(*shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("capture"), "{shell}");
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let mut program = Vec::new();
        man(None, &mut program).unwrap();
        assert!(String::from_utf8(program).unwrap().contains(".TH why502"));
        for name in [
            "capture",
            "agent",
            "snapshot",
            "report",
            "export",
            "logs",
            "explain",
            "doctor",
            "completions",
            "man",
        ] {
            let mut page = Vec::new();
            man(Some(name), &mut page).unwrap();
            let page = String::from_utf8(page).unwrap();
            assert!(page.contains(&format!(".TH why502-{name}")), "{page}");
        }
        assert!(man(Some("live"), &mut Vec::new()).is_err());
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
