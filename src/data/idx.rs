//! Reading IDX files of unsigned bytes, the format of MNIST and its kin.

use std::path::{Path, PathBuf};

use ndarray::Array2;

use super::source::{Source, open};
use crate::{Error, Result, caps};

/// A set of images of one size, with labels or without.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// The file of the images.
    pub file: PathBuf,
    /// One flattened image a row, `[images, pixels]`, 0 to 255.
    pub pixels: Array2<u8>,
    /// The label of each image.
    pub labels: Option<Vec<u8>>,
}

/// Whether the content of a file, decompressed, begins like an IDX file of any element type.
///
/// Errors: [`Error::File`] if the file can't be read or decompressed.
pub fn is_idx(path: &Path) -> Result<bool> {
    let magic = open(path)?.read(4)?;
    Ok(matches!(magic[..], [0, 0, _, 1..=u8::MAX]))
}

impl Images {
    /// Reads a file of images and, if given, the file of their labels (each gzip or not).
    ///
    /// Errors: [`Error::File`] if a file can't be read or decompressed; [`Error::Data`] for a file that
    /// is not IDX, elements that are not unsigned bytes, a header that asks for more than 2 GiB, no
    /// images, too little or too much content, or a label count other than the image count.
    pub fn read(images: &Path, labels: Option<&Path>) -> Result<Images> {
        Images::of(open(images)?, labels.map(open).transpose()?)
    }

    /// The same with the files' content; errors name the paths.
    ///
    /// # Errors
    /// As for [`Images::read`].
    pub fn from_bytes(images: (&Path, &[u8]), labels: Option<(&Path, &[u8])>) -> Result<Images> {
        let source = |(path, content)| Source::new(path, content, <[u8]>::len(content) as u64);
        Images::of(source(images)?, labels.map(source).transpose()?)
    }

    fn of(mut source: Source, labels: Option<Source>) -> Result<Images> {
        let images = source.path;
        let (dimensions, bytes) = read(&mut source)?;
        let (count, size) = match dimensions[..] {
            [count, ref size @ ..] if !size.is_empty() => (count as usize, size.iter().product::<u64>()),
            _ => return Err(Error::data(images, "the file holds labels (one dimension), not images")),
        };
        let pixels = Array2::from_shape_vec((count, size as usize), bytes)
            .map_err(|error| Error::data(images, error.to_string()))?;
        let labels = labels.map(|labels| read_labels(labels, images, count)).transpose()?;
        Ok(Images { file: images.into(), pixels, labels })
    }
}

fn read_labels(mut source: Source, images: &Path, count: usize) -> Result<Vec<u8>> {
    let path = source.path;
    let (dimensions, labels) = read(&mut source)?;
    if dimensions.len() != 1 {
        let message = format!("the file has {} dimensions; labels have one", dimensions.len());
        return Err(Error::data(path, message));
    }
    if labels.len() != count {
        let message = format!("{} labels for the {count} images of {}", labels.len(), images.display());
        return Err(Error::data(path, message));
    }
    Ok(labels)
}

/// The dimensions and the elements, as many as the dimensions say, at least one.
fn read(source: &mut Source) -> Result<(Vec<u64>, Vec<u8>)> {
    let path = source.path;
    let magic = source.read(4)?;
    let rank = match magic[..] {
        [0, 0, 0x08, rank @ 1..=u8::MAX] => u64::from(rank),
        [0, 0, kind, 1..=u8::MAX] => {
            let message =
                format!("IDX elements of type 0x{kind:02x}; only unsigned bytes, 0x08, can be read");
            return Err(Error::data(path, message));
        }
        _ => {
            return Err(Error::data(
                path,
                "not an IDX file: it does not begin with 00 00 08 and a dimension count",
            ));
        }
    };
    let header = source.read(4 * rank)?;
    if header.len() as u64 != 4 * rank {
        return Err(Error::data(path, "the file is truncated within the IDX header"));
    }
    let dimensions: Vec<u64> = header
        .chunks_exact(4)
        .map(|size| size.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
        .collect();
    if dimensions.contains(&0) {
        return Err(Error::data(path, format!("the file is empty: its dimensions are {dimensions:?}")));
    }
    let size = dimensions
        .iter()
        .try_fold(1u64, |size, dimension| size.checked_mul(*dimension))
        .filter(|size| *size <= caps::ELEMENTS)
        .ok_or_else(|| Error::data(path, format!("dimensions {dimensions:?} are over the limit of 2 GiB")))?;
    let bytes = source.read(size + 1)?;
    if bytes.len() as u64 == size {
        return Ok((dimensions, bytes));
    }
    let message = if bytes.len() as u64 > size {
        format!("there is content after the {size} bytes that dimensions {dimensions:?} ask for")
    } else {
        format!("truncated: {} of the {size} bytes that dimensions {dimensions:?} ask for", bytes.len())
    };
    Err(Error::data(path, message))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::super::tests::{Case, failures, scratch};
    use super::*;

    fn idx(dimensions: &[u32], elements: usize) -> Vec<u8> {
        let mut content = vec![0, 0, 8, dimensions.len() as u8];
        dimensions.iter().for_each(|size| content.extend(size.to_be_bytes()));
        content.extend((0..elements).map(|element| element as u8));
        content
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn images_and_labels_are_read() {
        let (pixels, labels) = (idx(&[3, 2, 2], 12), idx(&[3], 3));
        for (pixels, labels) in [(gzip(&pixels), labels.clone()), (pixels, gzip(&labels))] {
            let (pixels, labels) = (scratch(&pixels), scratch(&labels));
            assert!(is_idx(&pixels).unwrap() && is_idx(&labels).unwrap());
            let images = Images::read(&pixels, Some(&labels)).unwrap();
            assert_eq!(images.pixels, ndarray::array![[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]);
            assert_eq!(images.labels, Some(vec![0, 1, 2]));
            assert_eq!(Images::read(&pixels, None).unwrap().labels, None);
        }
        for content in [&b""[..], b"a,b", &[0, 0, 8], &[0, 0, 8, 0]] {
            assert!(!is_idx(&scratch(content)).unwrap());
        }
        assert!(matches!(is_idx(Path::new("/absent")), Err(Error::File { .. })));
    }

    #[test]
    fn bad_files_are_refused() {
        let huge = u32::MAX;
        let good = idx(&[1, 2, 2], 4);
        let zipped = gzip(&good);
        let mut corrupt = zipped.clone();
        let at = corrupt.len() - 6;
        corrupt[at] ^= 1;
        let cases: Vec<Case> = vec![
            (vec![], 3, vec!["not an IDX file"]),
            (b"a,b\n1,2\n".into(), 3, vec!["not an IDX file"]),
            (vec![0, 0, 0x0d, 3, 0, 0, 0, 1], 3, vec!["0x0d", "unsigned bytes"]),
            (idx(&[1, 2, 2], 3), 3, vec!["truncated: 3 of the 4 bytes"]),
            (good[..10].into(), 3, vec!["truncated within the IDX header"]),
            (idx(&[1, 2, 2], 5), 3, vec!["content after the 4 bytes"]),
            (idx(&[0, 2, 2], 0), 3, vec!["empty", "[0, 2, 2]"]),
            (idx(&[4], 4), 3, vec!["labels"]),
            (idx(&[huge, huge, huge], 4), 3, vec!["limit"]),
            (idx(&[huge, 28, 28], 4), 3, vec!["limit"]),
            (idx(&[1 << 21, 1 << 10, 1], 4), 3, vec!["truncated"]),
            (idx(&[1; 255], 0), 3, vec!["truncated"]),
            (zipped[..zipped.len() - 4].into(), 6, vec![]),
            (zipped[..12].into(), 6, vec![]),
            (corrupt, 6, vec![]),
        ];
        failures(cases, |path| Images::read(path, None).map(|_| ()));
        let pixels = scratch(&good);
        let cases: Vec<Case> = vec![
            (idx(&[2], 2), 3, vec!["2 labels for the 1 images"]),
            (good.clone(), 3, vec!["3 dimensions"]),
            (idx(&[1], 0), 3, vec!["truncated"]),
        ];
        failures(cases, |path| Images::read(&pixels, Some(path)).map(|_| ()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            mut head in prop::collection::vec(0u8..4, 0..20),
            tail in prop::collection::vec(any::<u8>(), 0..50),
            magic in 0usize..3,
        ) {
            let magic = [&[][..], &[0, 0, 8], &[0x1f, 0x8b, 8, 0]][magic];
            head.splice(0..0, magic.iter().copied());
            head.extend(tail);
            let path = scratch(&head);
            let _ = is_idx(&path);
            let _ = Images::read(&path, Some(&path));
        }
    }
}
