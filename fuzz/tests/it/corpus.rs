//! Runs every fuzz target over its folder of `fuzz/corpus/`, without a fuzzer: what was found once
//! stays mended.

use std::fs;
use std::path::Path;

use indicia_fuzz::TARGETS;

/// All of them together, in bytes: the repository stays small.
const CORPUS_BYTES_MAX: usize = 2_000_000;

#[test]
fn every_fuzz_target_holds_over_its_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut bytes = 0;
    for (name, run) in TARGETS {
        let folder = fs::read_dir(root.join(name)).unwrap();
        let mut inputs: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
        inputs.sort();
        assert!(inputs.len() >= 3, "{name} has hardly a seed");
        for input in inputs {
            let data = fs::read(&input).unwrap();
            bytes += data.len();
            // Told only where it fails: which input it was.
            println!("{name} {}", input.display());
            run(&data);
        }
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "the corpus has {bytes} bytes: minimise it");
}
