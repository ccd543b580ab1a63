//! placeholder
use crate::args::Demo;
use crate::failure::Failure;
use crate::home::Cx;
pub fn run(_cx: &Cx, _args: Demo) -> Result<(), Failure> {
    Ok(())
}
