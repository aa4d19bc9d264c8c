//! Shell completion and manual pages, from the description of the command line.

use std::fs;
use std::path::Path;

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

use crate::command_line::CommandLine;
use crate::output::{self, Outcome};

const PROGRAM: &str = "wamrctl";

/// Prints one shell's completion script.
///
/// # Errors
/// When it cannot be written.
pub fn completion(shell: Shell) -> Outcome {
    output::write(&script(shell))?;
    Ok(true)
}

/// Writes `wamrctl.1`, a page per command, and the script of every shell.
///
/// # Errors
/// Names the file.
pub fn all(folder: &Path) -> Outcome {
    clap_mangen::generate_to(CommandLine::command(), folder)
        .map_err(|e| format!("write manual pages into {}: {e}", folder.display()))?;
    for shell in Shell::value_variants() {
        let path = folder.join(clap_complete::Generator::file_name(shell, PROGRAM));
        fs::write(&path, script(*shell)).map_err(|e| format!("write {}: {e}", path.display()))?;
    }
    Ok(true)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), PROGRAM, &mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_manual_page_and_is_completed_by_every_shell() {
        let folder = std::env::temp_dir().join(format!("wamrctl-generate-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        all(&folder).unwrap();
        let page = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let main = page("wamrctl.1");
        let commands = CommandLine::command();
        let visible = commands.get_subcommands().filter(|command| !command.is_hide_set());
        let names: Vec<&str> = visible.map(clap::Command::get_name).collect();
        assert!(names.len() >= 5, "{names:?}");
        for name in names {
            assert!(main.contains(name), "{name} is not in wamrctl.1");
            assert!(page(&format!("wamrctl-{name}.1")).contains(".TH"), "{name}");
            for shell in Shell::value_variants() {
                assert!(String::from_utf8(script(*shell)).unwrap().contains(name), "{name} in {shell}");
            }
        }
        assert!(page("wamrctl-cache-verify.1").contains("damaged"));
        fs::remove_dir_all(folder).unwrap();
    }
}
