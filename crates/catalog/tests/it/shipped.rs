//! Each shipped file reads and checks clean.

use indicia_catalog::Catalogue;
use indicia_catalog::read::read;

#[test]
fn each_shipped_file_reads() {
    for id in Catalogue::shipped().ids() {
        let text = Catalogue::shipped_text(&id).unwrap();
        if let Err(errors) = read(&format!("services/{id}.toml"), text) {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            panic!("{}", errors.join("\n"));
        }
    }
}
