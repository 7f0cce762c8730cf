//! The entries for files that are read by their names, in folders: data sets, state dicts, recipes and studies.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tightrope_data::{Options, Split, load_with};
use tightrope_study::Study;
use tightrope_train::Config;

use super::refused;

/// A folder called `fuzz`, in memory where the system has such a place, that goes with the value.
pub struct Folder(TempDir);

impl Default for Folder {
    fn default() -> Self {
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() { TempDir::with_prefix_in("fuzz", memory) } else { TempDir::with_prefix("fuzz") };
        Folder(made.expect("a folder"))
    }
}

impl Folder {
    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes the file `name`, and makes the folders above it.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }
}

/// The data set `name` in `folder`, whose images are brought to 4×4 where a folder has them.
fn set(folder: &Folder, name: &str) -> bool {
    let dir = folder.path("");
    let options = Options { dir: Some(&dir), resize: Some([4, 4]).filter(|_| name == "folder"), ..Options::default() };
    match load_with(name, Split::Test, &options) {
        Ok(set) => {
            assert_eq!((set.values(), set.labels.len()), (set.len() * set.image_len(), set.len()));
            assert!(set.labels.iter().all(|&label| label < set.classes) && set.not_finite().is_none());
            true
        }
        Err(error) => refused(error),
    }
}

/// An IDX file of that many bytes in these dimensions.
pub fn idx(dims: &[u32], bytes: usize) -> Vec<u8> {
    let head = [0, 0, 8, dims.len() as u8].into_iter().chain(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    head.chain((0..bytes).map(|i| (i % 3) as u8)).collect()
}

/// Images of MNIST, plain or compressed.
pub fn idx_images(data: &[u8]) -> bool {
    let folder = Folder::default();
    folder.write("mnist/t10k-labels-idx1-ubyte", &idx(&[2], 2));
    folder.write("mnist/t10k-images-idx3-ubyte.gz", data);
    set(&folder, "mnist")
}

/// Labels of MNIST.
pub fn idx_labels(data: &[u8]) -> bool {
    let folder = Folder::default();
    folder.write("mnist/t10k-images-idx3-ubyte", &idx(&[2, 28, 28], 2 * 784));
    folder.write("mnist/t10k-labels-idx1-ubyte", data);
    set(&folder, "mnist")
}

/// A binary file of CIFAR-10.
pub fn cifar(data: &[u8]) -> bool {
    let folder = Folder::default();
    folder.write("cifar10/test_batch.bin", data);
    set(&folder, "cifar10")
}

/// The archive of CIFAR-10.
pub fn cifar_archive(data: &[u8]) -> bool {
    let folder = Folder::default();
    folder.write("cifar10/cifar-10-binary.tar.gz", data);
    set(&folder, "cifar10")
}

/// A MATLAB file of SVHN.
pub fn matlab(data: &[u8]) -> bool {
    let folder = Folder::default();
    folder.write("svhn/test_32x32.mat", data);
    set(&folder, "svhn")
}

/// The archive of TinyImageNet.
pub fn tiny_imagenet(data: &[u8]) -> bool {
    let folder = Folder::default();
    folder.write("tinyimagenet/tiny-imagenet-200.zip", data);
    set(&folder, "tinyimagenet")
}

/// The list of GTSRB's test images.
pub fn sign_list(data: &[u8]) -> bool {
    let folder = Folder::default();
    for name in ["00000.ppm", "00001.ppm"] {
        let image = [&b"P6\n2 2\n255\n"[..], &[7; 12]].concat();
        folder.write(&format!("gtsrb/GTSRB/Final_Test/Images/{name}"), &image);
    }
    folder.write("gtsrb/GT-final_test.csv", data);
    set(&folder, "gtsrb")
}

/// A PNG, JPEG, PPM or PGM file in an image folder.
pub fn image(data: &[u8]) -> bool {
    let folder = Folder::default();
    folder.write("test/one/0.png", data);
    folder.write("test/two/0.png", b"P5 1 1 255\n\x07");
    set(&folder, "folder")
}

/// A property in a file, which may be packed.
pub fn property(data: &[u8]) -> bool {
    let folder = Folder::default();
    folder.write("property.vnnlib.gz", data);
    match tightrope_vnnlib::Property::read(&folder.path("property.vnnlib")) {
        Ok(_) => true,
        Err(error) => refused(error),
    }
}

/// A model of one matrix of 2×3 whose weights lie in the file `weights.bin` beside it.
pub fn external() -> Vec<u8> {
    let number = |field: u8, value: u8| vec![field << 3, value];
    let bytes = |field: u8, content: &[u8]| {
        let length = content.len();
        let groups = if length < 128 { vec![length as u8] } else { vec![length as u8 | 128, (length >> 7) as u8] };
        [&[field << 3 | 2][..], &groups, content].concat()
    };
    let tensor = |name: &str, columns: u8| {
        let dim = |size| bytes(1, &number(1, size));
        let shape = bytes(2, &[dim(1), dim(columns)].concat());
        [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &[number(1, 1), shape].concat()))].concat()
    };
    let entry = |key: &str, value: &str| bytes(13, &[bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat());
    let place = [entry("location", "weights.bin"), entry("offset", "0"), entry("length", "24")].concat();
    let weights = [number(1, 2), number(1, 3), number(2, 1), bytes(8, b"w"), place, number(14, 1)].concat();
    let node = [bytes(1, b"x"), bytes(1, b"w"), bytes(2, b"y"), bytes(4, b"MatMul")].concat();
    let (input, output) = (bytes(11, &tensor("x", 2)), bytes(12, &tensor("y", 3)));
    let graph = [bytes(1, &node), bytes(2, b"graph"), bytes(5, &weights), input, output].concat();
    [number(1, 8), bytes(8, &number(2, 13)), bytes(7, &graph)].concat()
}

fn imported(model: &[u8], values: &[u8]) -> bool {
    let folder = Folder::default();
    folder.write("fuzz.onnx", model);
    folder.write("weights.bin", values);
    match tightrope_onnx::import(&folder.path("fuzz.onnx")) {
        Ok(model) => {
            assert!(model.weights().theta().iter().all(|value| value.is_finite()));
            true
        }
        Err(error) => refused(error),
    }
}

/// A model whose weights lie in another file.
pub fn external_model(data: &[u8]) -> bool {
    imported(data, &external_values())
}

/// The weights of such a model.
pub fn external_file(data: &[u8]) -> bool {
    imported(&external(), data)
}

/// The weights of such a model, whole.
pub fn external_values() -> Vec<u8> {
    [0.5_f32, -1.0, 2.0, 0.25, 1.5, -0.75].iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A state dict of PyTorch, or tensors of another program.
pub fn state_dict(data: &[u8]) -> bool {
    let folder = Folder::default();
    folder.write("weights.pt", data);
    match tightrope_weights::read(&folder.path("weights.pt")) {
        Ok(tensors) => {
            for tensor in &tensors {
                assert_eq!(tensor.shape.iter().product::<usize>(), tensor.values.len(), "{}", tensor.name);
            }
            true
        }
        Err(error) => refused(error),
    }
}

/// A configuration.
pub fn config(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    match Config::parse(&text, "fuzz", &[]) {
        Ok(config) => {
            let again = Config::parse(&config.to_toml(), "fuzz", &[]).expect("what is written is read");
            assert_eq!(again, config);
            true
        }
        // A value is told by its key, and parts of the text at any length: the command cuts them.
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// A study.
pub fn study(data: &[u8]) -> bool {
    match Study::parse("fuzz", &String::from_utf8_lossy(data), "smoke") {
        Ok(study) => {
            let _ = study.trials();
            true
        }
        Err(error) => {
            assert!(error.to_string().contains("fuzz"), "the study is not named: {error}");
            false
        }
    }
}
