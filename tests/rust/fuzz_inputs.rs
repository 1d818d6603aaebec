//! The committed inputs of the fuzz targets, through the same checks without a fuzzer.

#[path = "../../fuzz/src/gbnf.rs"]
mod gbnf;
#[path = "../../fuzz/src/gguf.rs"]
mod gguf;
#[path = "../../fuzz/src/json_schema.rs"]
mod json_schema;
#[path = "../../fuzz/src/sampling.rs"]
mod sampling;
#[path = "../../fuzz/src/slot_file.rs"]
mod slot_file;
#[path = "../../fuzz/src/text.rs"]
mod text;
#[path = "../../fuzz/src/tokenizer.rs"]
mod tokenizer;

mod model {
    /// The model that comes with the package.
    pub const EMBEDDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/rustllm/models/stories260K.gguf");
}

use std::path::Path;

/// Checks all inputs of a target.
fn replay(name: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut n = 0;
    for entry in std::fs::read_dir(&folder).expect("there are inputs") {
        let path = entry.expect("the folder can be read").path();
        println!("{}", path.display());
        check(&std::fs::read(&path).expect("the input can be read"));
        n += 1;
    }
    assert!(n > 0, "{} is empty", folder.display());
}

macro_rules! replayed {
    ($($test:ident: $target:ident;)*) => {
        $(
            #[test]
            fn $test() {
                replay(stringify!($target), $target::check);
            }
        )*
    };
}

replayed! {
    grammars: gbnf;
    model_files: gguf;
    schemas: json_schema;
    sampling_parameters: sampling;
    slot_files: slot_file;
    texts: tokenizer;
}
