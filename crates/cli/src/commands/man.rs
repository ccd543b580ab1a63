//! `indicia man [COMMAND]`: the manual page, in the form that `man` reads.

use std::io::Write as _;

use crate::args::Man;
use crate::examples;
use crate::failure::Failure;
use crate::words;

/// Prints it.
pub fn run(args: Man) -> Result<(), Failure> {
    let mut command = examples::command();
    // Gives each subcommand its whole name and the options that all have.
    command.build();
    for name in &args.command {
        let found = command.find_subcommand(name).cloned();
        command = found.ok_or_else(|| {
            let names = command.get_subcommands().map(clap::Command::get_name);
            let near = words::nearest(name, names).join(", ");
            let hint = match near.as_str() {
                "" => "`indicia --help` lists the commands".to_owned(),
                near => format!("did you mean {near}?"),
            };
            Failure::usage("command_unknown", format!("there is no command {name:?}"), hint)
        })?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(Failure::from)?;
    std::io::stdout().write_all(&page).map_err(Failure::from)
}
