//! Models in several files: the same model as in one, and what is refused of them.

#[allow(dead_code)] // other tests use the rest of it
#[path = "support/model_file.rs"]
mod model_file;
#[allow(dead_code)] // as above
mod support;

use std::path::{Path, PathBuf};

use model_file::{ModelFile, Value};
use rustllm::config::CacheType;
use rustllm::gguf::GgufFile;
use support::{Bench, assert_same_bits};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rustllm-split-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the folder is made");
        Self(path)
    }

    fn write(&self, name: &str, file: &ModelFile) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, file.bytes()).expect("the file is written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays behind disturbs nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Part `part` of the llama in three, which has every third tensor.
fn part(part: usize) -> ModelFile {
    let mut file = ModelFile::llama();
    let n = file.tensors.len();
    if part > 0 {
        file.keys.clear();
    }
    file.tensors = file.tensors.into_iter().skip(part).step_by(3).collect();
    file.keys.push(("split.no".into(), Value::U32(part as u32)));
    file.keys.push(("split.count".into(), Value::U32(3)));
    file.keys.push(("split.tensors.count".into(), Value::I32(n as i32)));
    file
}

fn name(part: usize) -> String {
    format!("little-{:05}-of-00003.gguf", part + 1)
}

fn write_all(folder: &Folder) -> PathBuf {
    let [first, _, _] = [0, 1, 2].map(|index| folder.write(&name(index), &part(index)));
    first
}

fn refusal(path: &Path) -> String {
    GgufFile::open(path).expect_err("it is refused").to_string()
}

#[test]
fn the_parts_are_the_whole() {
    let folder = Folder::new("whole");
    let (whole, first) = (folder.write("whole.gguf", &ModelFile::llama()), write_all(&folder));
    let logits = |path: &Path| Bench::open(path, CacheType::F32).logits(&[1, 3, 4, 5], 8);
    assert_same_bits(&logits(&first), &logits(&whole), "in three files");
    let file = GgufFile::open(&first).expect("it opens");
    assert_eq!(file.tensors().len(), ModelFile::llama().tensors.len());
    assert_eq!(file.path(), first);
}

#[test]
fn a_later_part_says_which_to_open() {
    let folder = Folder::new("later");
    write_all(&folder);
    let error = refusal(&folder.0.join(name(1)));
    assert!(error.contains("split.no: this is part 2 of 3; open the first"), "{error}");
}

#[test]
fn a_missing_part_is_named() {
    let folder = Folder::new("missing");
    let first = write_all(&folder);
    std::fs::remove_file(folder.0.join(name(2))).expect("it was there");
    let error = refusal(&first);
    assert!(error.contains("little-00003-of-00003.gguf"), "{error}");
}

#[test]
fn a_first_part_with_another_name_is_refused() {
    let folder = Folder::new("name");
    write_all(&folder);
    let error = refusal(&folder.write("little.gguf", &part(0)));
    assert!(error.contains("split.count: 3 parts"), "{error}");
    assert!(error.contains("-00001-of-00003.gguf"), "{error}");
}

#[test]
fn parts_of_something_else_are_refused() {
    let folder = Folder::new("other");
    let first = write_all(&folder);
    let tampered = |change: &dyn Fn(&mut ModelFile)| {
        let mut file = part(2);
        change(&mut file);
        folder.write(&name(2), &file);
        refusal(&first)
    };
    for (says, change) in [
        (
            "split.no: 1 is not allowed in part 3 of 3; allowed: 2",
            &(|f: &mut ModelFile| f.set("split.no", Value::U32(1))) as &dyn Fn(&mut ModelFile),
        ),
        ("split.count: 4 is not allowed in part 3 of 3; allowed: 3", &|f| f.set("split.count", Value::U32(4))),
        ("split.count", &|f| f.keys.retain(|(key, _)| key != "split.count")),
        ("split.tensors.count: the parts have 10 tensors; expected 11", &|f| drop(f.tensors.pop())),
        ("the tensor occurs twice", &|f| f.tensors[0] = ModelFile::llama().tensors[0].clone()),
    ] {
        let error = tampered(change);
        assert!(error.contains(says), "{says}: {error}");
    }
}
