//! Data sets of images.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use super::*;

pub fn idx(dimensions: &[u32], elements: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut content = vec![0, 0, 8, dimensions.len() as u8];
    dimensions.iter().for_each(|size| content.extend(size.to_be_bytes()));
    content.extend(elements);
    content
}

pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// 60 images of 4×4 pixels, bright on the left or on the right, and their labels.
pub fn images() -> (Vec<u8>, Vec<u8>) {
    let pixel = |i: u32| {
        let (image, column) = (i / 16, i % 4);
        let bright = (column < 2) == image.is_multiple_of(2);
        (if bright { 200 } else { 20 }) + (i * 7 % 31) as u8
    };
    (idx(&[60, 4, 4], (0..960).map(pixel)), idx(&[60], (0..60).map(|i| if i % 2 == 0 { 3 } else { 8 })))
}

#[test]
fn images_are_trained_evaluated_and_predicted() {
    let at = directory("images");
    let (pixels, labels) = images();
    fs::write(at.join("a-images-idx3-ubyte"), &pixels).unwrap();
    fs::write(at.join("a-labels-idx1-ubyte"), &labels).unwrap();
    fs::write(at.join("b-images-idx3-ubyte.gz"), gzip(&pixels)).unwrap();
    fs::write(at.join("b-labels-idx1-ubyte.gz"), gzip(&labels)).unwrap();
    fs::write(at.join("labels"), gzip(&labels)).unwrap();
    let rest = "--device cpu --epochs 8 --batch 10 --json --quiet";
    let plain = json(&succeed(&at, &format!("train a-images-idx3-ubyte --out a {rest}")));
    let zipped = json(&succeed(&at, &format!("train b-images-idx3-ubyte.gz --out b {rest}")));
    assert_eq!(plain["test"], zipped["test"]);
    assert_eq!(plain["test"]["accuracy"], 1.0);
    succeed(&at, &format!("train a-images-idx3-ubyte --labels labels --out c {rest}"));
    let text = succeed(&at, "evaluate a/model.safetensors b-images-idx3-ubyte.gz --device cpu");
    assert!(text.contains("accuracy 100.0 % (60 of 60)"), "{text}");
    fs::write(at.join("a-labels-idx1-ubyte"), "damaged").unwrap();
    succeed(&at, "predict a/model.safetensors a-images-idx3-ubyte --device cpu");
    fs::remove_file(at.join("a-labels-idx1-ubyte")).unwrap();
    let text = succeed(&at, "predict a/model.safetensors a-images-idx3-ubyte --device cpu");
    assert!(text.starts_with("row,prediction,p(3),p(8)\n1,3,0.") && text.lines().count() == 61, "{text}");
    let ran = run(&at, "predict a/model.safetensors a-images-idx3-ubyte --device cpu --keep id");
    assert!(ran.code == Some(2) && ran.err.contains("--keep is of a table's columns"), "{}", ran.err);
    let text = succeed(&at, "inspect b-images-idx3-ubyte.gz");
    assert!(text.contains("60 images of 16 pixels") && text.contains("3 ×30, 8 ×30"), "{text}");
}
