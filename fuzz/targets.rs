//! What has to hold for any bytes whatever: one function for each kind of file. The fuzzers run them, and
//! tests/integration/fuzz.rs does, over the seeds and mutations of them.

use std::path::Path;

use minilote::data::{Images, Inputs, Missing, Schema, Table, Unknown};
use minilote::model::Model;
use minilote::train::{Checkpoint, Predictor};
use minilote::{Device, cli};
use ndarray::Array2;

fn name() -> &'static Path {
    Path::new("fuzzed")
}

/// A table that is read is rectangular; a schema that suits it encodes it.
pub fn csv(bytes: &[u8]) {
    let Ok(table) = Table::from_bytes(name(), bytes) else { return };
    let columns = table.names().len();
    assert!(table.rows() > 0 && columns > 0);
    let text: usize = (0..table.rows() * columns).map(|i| table.cell(i / columns, i % columns).len()).sum();
    assert!(text <= bytes.len().max(minilote::caps::EXPANDED as usize));
    for (target, missing) in table.names().iter().zip([Missing::Refuse, Missing::Mean, Missing::Drop]) {
        let Ok((schema, task)) = Schema::of_table(&table, target, &[], None, missing) else { continue };
        assert_eq!(schema.check(), Ok(()));
        assert!(schema.outputs(task).is_some());
        let data = schema.encode(&table, true, Unknown::Refuse).unwrap();
        assert_eq!((data.rows() + data.dropped, data.width()), (table.rows(), schema.width()));
        let Inputs::Real(values) = &data.inputs else { panic!("a table of bytes") };
        assert!(values.iter().all(|value| value.is_finite()));
        assert_eq!((data.targets.unwrap().len(), data.lines.len()), (values.nrows(), values.nrows()));
    }
}

/// Images have as many pixels and labels as there are, in a file or in two.
pub fn idx(bytes: &[u8]) {
    const FOUR: &[u8] = &[0, 0, 8, 2, 0, 0, 0, 4, 0, 0, 0, 1, 1, 2, 3, 4];
    if let Ok(images) = Images::from_bytes((name(), bytes), None) {
        assert!(images.labels.is_none() && images.pixels.nrows() > 0 && images.pixels.ncols() > 0);
    }
    if let Ok(images) = Images::from_bytes((name(), FOUR), Some((name(), bytes))) {
        assert_eq!(images.labels.as_ref().unwrap().len(), 4);
        if let Ok((schema, _)) = Schema::of_images(&images, None) {
            assert_eq!(schema.encode_images(&images, true).unwrap().targets.unwrap().len(), 4);
        }
    }
}

/// A configuration is flags, each of which the command takes.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(flags) = cli::arguments_of(name(), text) else { return };
    assert!(flags.iter().all(|flag| flag.to_str().is_some_and(|flag| flag.starts_with("--"))));
}

/// A model that is read predicts a row, and is the same when it is written and read again.
pub fn model(bytes: &[u8]) {
    let Ok(model) = Model::from_bytes(name(), bytes) else { return };
    let again = |model: &Model| Model::from_bytes(name(), &model.to_bytes().unwrap()).unwrap();
    // Writing rounds weights of 64 bits.
    let model = again(&model);
    assert!(again(&model) == model);
    let inputs = Inputs::Real(Array2::from_elem((1, model.spec.inputs()), 0.5));
    let outputs = pollster::block_on(async {
        Predictor::new(&model, &inputs, &Device::Cpu).await.unwrap().outputs().await.unwrap()
    });
    assert_eq!(outputs.dim(), (1, model.spec.outputs()));
    let meanings = model.interpret(&outputs);
    assert!(
        meanings.ncols() == 1
            || Some(meanings.ncols()) == model.schema.outputs(model.spec.task).map(|n| n.max(2))
    );
}

/// A checkpoint that is read is the same when it is written and read again. Fuzzers pass its checksum.
pub fn checkpoint(bytes: &[u8]) {
    let Ok(checkpoint) = Checkpoint::from_bytes(name(), bytes) else { return };
    let again = Checkpoint::from_bytes(name(), &checkpoint.to_bytes().unwrap()).unwrap();
    assert_eq!(format!("{checkpoint:?}"), format!("{again:?}"));
}
