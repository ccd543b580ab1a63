//! What was typed after `setup`.

use clap::Args as ClapArgs;

/// `setup`.
#[derive(Debug, ClapArgs)]
pub struct Setup {
    /// Service, see `indicia services`
    pub service: String,
    /// Address of a sandbox that stands in for the service, as 127.0.0.1:PORT
    #[arg(long, value_name = "ADDR")]
    pub sandbox: Option<String>,
}
