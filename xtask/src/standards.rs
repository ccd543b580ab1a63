use crate::repo::Repo;
use anyhow::Result;
#[derive(clap::Args)]
pub struct Args {
    #[arg(long)]
    check: bool,
}
pub fn run(repo: &Repo, args: &Args) -> Result<()> {
    let _ = args.check;
    check(repo)
}
pub fn check(_: &Repo) -> Result<()> {
    Ok(())
}
