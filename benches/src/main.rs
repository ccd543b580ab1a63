//! How fast Indicia is, as ratios to what the machine can do: each figure beside a baseline that is
//! run in turn with it, within the same seconds.
//!
//! What would surprise: nothing here fails because something is slow. The figures are for people;
//! where the baseline itself wavers, they are printed and not judged. `cargo xtask bench` builds
//! this with all that it needs.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tells what it does")]

mod cold;
mod copies;
mod figure;
mod import;
mod journal;
mod machine;
mod raw;
mod refresh;
mod size;
mod start;
mod store;
mod warm;
mod world;

use anyhow::Result;
use clap::Parser;

use figure::Figure;
use machine::Machine;
use world::World;

/// Measures, and prints a page about it.
#[derive(Parser)]
struct Args {
    /// Only these: warm, cold, start, size, journal, store, import, refresh
    only: Vec<String>,
    /// Pairs of baseline and Indicia for each figure, at least five for one that counts
    #[arg(long, default_value_t = 7)]
    pairs: usize,
    /// Grants that are read and refreshed
    #[arg(long, default_value_t = 2048)]
    grants: usize,
    /// Grants in the store in all
    #[arg(long, default_value_t = 1_000_000)]
    stored: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let world = World::new(args.grants, args.stored)?;
    let machine = Machine::look(world.folder())?;
    let mut figures: Vec<Figure> = Vec::new();
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    // In this order, since `refresh` moves the engine's clock on.
    for name in ["warm", "cold", "start", "size", "journal", "store", "import", "refresh"] {
        if !wanted(name) {
            continue;
        }
        eprintln!("measuring: {name}");
        let measure = match name {
            "warm" => warm::figures,
            "cold" => cold::figures,
            "start" => start::figures,
            "size" => size::figures,
            "journal" => journal::figures,
            "store" => store::figures,
            "import" => import::figures,
            _ => refresh::figures,
        };
        figures.extend(measure(&world, args.pairs)?);
    }
    println!("{}", figure::page(&machine, &figures));
    Ok(())
}
