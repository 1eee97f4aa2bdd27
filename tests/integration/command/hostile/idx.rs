//! Images and their labels.

use super::super::{gzip, idx, images};
use super::{Case, case, refuse, trained};

const TRAIN: &str = "train @ --labels good-labels --device cpu --out none";
const LABELS: &str = "train good-images --labels @ --device cpu --out none";

fn header(sizes: &[u32]) -> Vec<u8> {
    idx(sizes, std::iter::empty())
}

fn spoiled(bytes: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] = byte;
    bytes
}

pub fn cases() -> Vec<Case> {
    let (pixels, labels) = images();
    let mut all = vec![];
    for (name, kind) in [
        ("signed", 0x09),
        ("short", 0x0b),
        ("int", 0x0c),
        ("float", 0x0d),
        ("double", 0x0e),
        ("none", 0),
        ("all", 0xff),
    ] {
        let said = format!("type 0x{kind:02x}; only unsigned bytes");
        all.push(case(&format!("type-{name}.idx"), spoiled(&pixels, 2, kind), TRAIN, 3, &[&said]));
        all.push(case(&format!("type-{name}.labels"), spoiled(&labels, 2, kind), LABELS, 3, &[&said]));
    }
    for (at, byte) in [(0, 1), (1, 8), (3, 0)] {
        let not = "an IDX file of images";
        all.push(case(&format!("magic-{at}.idx"), spoiled(&pixels, at, byte), TRAIN, 3, &[not]));
        let not = "not an IDX file";
        all.push(case(&format!("magic-{at}.labels"), spoiled(&labels, at, byte), LABELS, 3, &[not]));
    }
    for length in [4, 5, 8, 15] {
        let said = "truncated within the IDX header";
        all.push(case(&format!("header-{length}.idx"), &pixels[..length], TRAIN, 3, &[said]));
    }
    for length in [0, 1, 3, 4, 7] {
        let said = if length < 4 { "not an IDX file" } else { "truncated within the IDX header" };
        all.push(case(&format!("header-{length}.labels"), &labels[..length], LABELS, 3, &[said]));
    }
    all.extend(sizes(&pixels, &labels));
    all.extend(of_labels(&pixels, &labels));
    all.extend(compressed(&pixels, &labels));
    all
}

fn sizes(pixels: &[u8], labels: &[u8]) -> Vec<Case> {
    let images = |name: &str, bytes: Vec<u8>, said: &str| case(name, bytes, TRAIN, 3, &[said]);
    let large = u32::MAX;
    vec![
        images("none.idx", header(&[0, 28, 28]), "[0, 28, 28]"),
        images("flat.idx", header(&[10, 0, 28]), "[10, 0, 28]"),
        images("thin.idx", header(&[10, 28, 0]), "[10, 28, 0]"),
        images("endless.idx", header(&[large; 3]), "over the limit of 2 GiB"),
        images("many.idx", header(&[large, 28, 28]), "over the limit of 2 GiB"),
        images("tall.idx", header(&[1, large, 1]), "over the limit of 2 GiB"),
        images("overflow.idx", header(&[1 << 31, 1 << 31, 4]), "over the limit of 2 GiB"),
        images("wraps.idx", header(&[1 << 16; 4]), "over the limit of 2 GiB"),
        images("limit.idx", header(&[1 << 31]), "truncated: 0 of the 2147483648 bytes"),
        images("past-limit.idx", header(&[(1 << 31) + 1]), "over the limit of 2 GiB"),
        images("claims.idx", header(&[70_000, 28, 1000]), "truncated: 0 of the 1960000000 bytes"),
        images("ranks.idx", header(&[1; 255]), "truncated: 0 of the 1 bytes"),
        images(
            "ranks-cut.idx",
            [&[0, 0, 8, 255], &[0; 1019][..]].concat(),
            "truncated within the IDX header",
        ),
        images("ranks-zero.idx", [&[0, 0, 8, 255], &[0; 1020][..]].concat(), "the file is empty"),
        images("short.idx", pixels[..pixels.len() - 1].into(), "truncated: 959 of the 960 bytes"),
        images("half.idx", pixels[..496].into(), "truncated: 480 of the 960 bytes"),
        images("bare.idx", pixels[..16].into(), "truncated: 0 of the 960 bytes"),
        images("long.idx", [pixels, &[7]].concat(), "content after the 960 bytes"),
        images("twice.idx", [pixels, pixels].concat(), "content after the 960 bytes"),
        images("little-endian.idx", spoiled(&spoiled(pixels, 4, 60), 7, 0), "over the limit of 2 GiB"),
        images("labels.idx", labels.to_vec(), "labels (one dimension), not images"),
        case("short.labels", &labels[..67], LABELS, 3, &["truncated: 59 of the 60 bytes"]),
        case("long.labels", [labels, &[1]].concat(), LABELS, 3, &["content after the 60 bytes"]),
        case("claims.labels", header(&[large]), LABELS, 3, &["over the limit of 2 GiB"]),
        case("none.labels", header(&[0]), LABELS, 3, &["the file is empty"]),
    ]
}

fn of_labels(pixels: &[u8], labels: &[u8]) -> Vec<Case> {
    let numbered = |count: u32, label: fn(u32) -> u8| idx(&[count], (0..count).map(label));
    let other = |sizes: &[u32]| idx(sizes, (0..sizes.iter().product()).map(|i| i as u8));
    // What is wrong with labels as classes is said of their images.
    let of_images = |name: &str, bytes: Vec<u8>, said: &[&str]| {
        let mut case = case(name, bytes, LABELS, 3, said);
        *case.words.last_mut().unwrap() = "good-images".into();
        case
    };
    vec![
        case("fewer.labels", numbered(59, |i| (i % 2) as u8), LABELS, 3, &["59 labels for the 60 images"]),
        case("more.labels", numbered(61, |i| (i % 2) as u8), LABELS, 3, &["61 labels for the 60 images"]),
        case("images.labels", pixels, LABELS, 3, &["3 dimensions; labels have one"]),
        case("column.labels", other(&[60, 1]), LABELS, 3, &["2 dimensions; labels have one"]),
        case("text.labels", "label\n1\n", LABELS, 3, &["not an IDX file"]),
        case("table.idx", "x,y\n1,2\n", TRAIN, 3, &["--labels", "an IDX file of images"]),
        of_images("same.labels", numbered(60, |_| 4), &["only one class, \"4\""]),
        of_images("once.labels", numbered(60, |i| u8::from(i == 7)), &["label of image 8: class \"1\""]),
        of_images("all.labels", numbered(60, |i| i as u8), &["label of image 1: class \"0\""]),
        case("alone.idx", pixels, "train @ --device cpu --out none", 3, &["--labels FILE"]),
        case("alone-inspected.idx", &pixels[..90], "inspect @", 3, &["truncated: 74 of the 960 bytes"]),
        case(
            "sizes.idx",
            other(&[10, 2, 2]),
            "predict pixels/model.safetensors @ --device cpu",
            3,
            &["4 pixels an image"],
        ),
        case(
            "table-of-images.csv",
            "x,y\n1,2\n",
            "predict pixels/model.safetensors @ --device cpu",
            3,
            &["a table"],
        ),
        case(
            "unlabeled.idx",
            pixels,
            "evaluate pixels/model.safetensors @ --device cpu",
            3,
            &["a file of images needs its labels"],
        ),
        {
            let arguments = "evaluate pixels/model.safetensors good-images --labels @ --device cpu";
            let mut case =
                case("unknown.labels", spoiled(labels, 20, 9), arguments, 3, &["label 9 of image 13"]);
            *case.words.last_mut().unwrap() = "good-images".into();
            case
        },
    ]
}

fn compressed(pixels: &[u8], labels: &[u8]) -> Vec<Case> {
    let good = gzip(pixels);
    let end = good.len();
    let bomb = |head: Vec<u8>| gzip(&[head, vec![0; 32 << 20]].concat());
    let images = |name: &str, bytes: Vec<u8>, code, said: &[&str]| case(name, bytes, TRAIN, code, said);
    vec![
        images("bomb.idx.gz", bomb(header(&[10, 28, 28])), 3, &["after the 7840 bytes"]),
        images("bomb-claimed.idx.gz", bomb(header(&[1 << 15, 32, 32])), 6, &["gzip expands"]),
        images("cut.idx.gz", good[..end / 2].into(), 6, &[]),
        images("cut-trailer.idx.gz", good[..end - 4].into(), 6, &[]),
        images("checksum.idx.gz", spoiled(&good, end - 5, !good[end - 5]), 6, &[]),
        images("after.idx.gz", [&good[..], b"more"].concat(), 6, &[]),
        images("parts.idx.gz", [&good[..], &gzip(&[1])].concat(), 3, &["content after the 960 bytes"]),
        images("short.idx.gz", gzip(&pixels[..500]), 3, &["truncated: 484 of the 960 bytes"]),
        images("header.idx.gz", gzip(&pixels[..9]), 3, &["truncated within the IDX header"]),
        case("bomb.labels.gz", bomb(header(&[60])), LABELS, 3, &["after the 60 bytes"]),
        case("cut.labels.gz", &gzip(labels)[..20], LABELS, 6, &[]),
        case("twice.labels.gz", gzip(&gzip(labels)), LABELS, 3, &["not an IDX file"]),
    ]
}

#[test]
fn images_are_refused() {
    let at = trained("hostile-idx");
    let (pixels, labels) = images();
    std::fs::write(at.join("good-images"), pixels).unwrap();
    std::fs::write(at.join("good-labels"), labels).unwrap();
    super::succeed(
        &at,
        "train good-images --labels good-labels --device cpu --epochs 1 --batch 10 --hidden 2 --out pixels --quiet",
    );
    refuse(&at, cases());
}
