//! A safetensors file taken apart, to be put together wrongly.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Type, shape and bytes.
#[derive(Clone)]
pub struct Tensor(pub String, pub Vec<u64>, pub Vec<u8>);

#[derive(Clone)]
pub struct Parts {
    pub metadata: Map<String, Value>,
    pub tensors: BTreeMap<String, Tensor>,
}

/// A file of this header and these bytes behind it.
pub fn file(head: &[u8], body: &[u8]) -> Vec<u8> {
    [&(head.len() as u64).to_le_bytes(), head, body].concat()
}

impl Parts {
    pub fn of(bytes: &[u8]) -> Parts {
        let (length, rest) = bytes.split_first_chunk().unwrap();
        let (head, body) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let mut head: Map<String, Value> = serde_json::from_slice(head).unwrap();
        let metadata = head.remove("__metadata__").unwrap().as_object().unwrap().clone();
        let tensor = |value: &Value| {
            let numbers = |key: &str| -> Vec<u64> {
                value[key].as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
            };
            let offsets = numbers("data_offsets");
            let bytes = body[offsets[0] as usize..offsets[1] as usize].to_vec();
            Tensor(value["dtype"].as_str().unwrap().into(), numbers("shape"), bytes)
        };
        let tensors = head.iter().map(|(name, value)| (name.clone(), tensor(value))).collect();
        Parts { metadata, tensors }
    }

    /// The header, and the tensors' bytes one after the other.
    pub fn head(&self) -> (Value, Vec<u8>) {
        let (mut head, mut body) = (Map::new(), vec![]);
        head.insert("__metadata__".into(), self.metadata.clone().into());
        for (name, Tensor(kind, shape, bytes)) in &self.tensors {
            let offsets = [body.len(), body.len() + bytes.len()];
            head.insert(name.clone(), json!({ "dtype": kind, "shape": shape, "data_offsets": offsets }));
            body.extend(bytes);
        }
        (head.into(), body)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let (head, body) = self.head();
        file(head.to_string().as_bytes(), &body)
    }

    /// The file after a change of its header alone.
    pub fn with_head(&self, edit: impl Fn(&mut Value)) -> Vec<u8> {
        let (mut head, body) = self.head();
        edit(&mut head);
        file(head.to_string().as_bytes(), &body)
    }

    /// After a change of the description under `key`.
    pub fn with_description(&self, key: &str, edit: impl Fn(&mut Value)) -> Parts {
        let mut parts = self.clone();
        let mut inner: Value = serde_json::from_str(parts.metadata[key].as_str().unwrap()).unwrap();
        edit(&mut inner);
        parts.metadata.insert(key.into(), inner.to_string().into());
        parts
    }

    /// After a change of a tensor.
    pub fn with_tensor(&self, name: &str, edit: impl Fn(&mut Tensor)) -> Parts {
        let mut parts = self.clone();
        edit(parts.tensors.get_mut(name).unwrap());
        parts
    }
}

/// What is wrong in the same way with any safetensors file: a name, the bytes, and what the message says.
pub fn broken(good: &Parts, first: &str) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let whole = good.bytes();
    let (head, body) = good.head();
    let text = head.to_string();
    let length = text.len();
    let at = |pointer: &str| format!("/{first}/{pointer}");
    let theirs = |pointer: &str, value: Value| {
        good.with_head(|head| *head.pointer_mut(&at(pointer)).unwrap() = value.clone())
    };
    let claims = |length: u64| [&length.to_le_bytes(), text.as_bytes(), &body].concat();
    let many: String = (0..10_001)
        .map(|i| format!("\"{i}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}},"))
        .collect();
    let deep = "[".repeat(super::DEEP);
    let overlap = || {
        good.with_head(|head| {
            let copy = head[first].clone();
            head["another"] = copy;
        })
    };
    vec![
        ("empty", vec![], "no length of a header"),
        ("seven", whole[..7].into(), "no length of a header"),
        ("length-only", whole[..8].into(), "0 of the header's"),
        ("length-zero", claims(0), "header: EOF"),
        ("length-one", claims(1), "header: EOF"),
        ("length-short", claims(length as u64 - 1), "header: EOF"),
        ("length-long", claims(length as u64 + 1), ""),
        ("length-past", claims(whole.len() as u64), "of the header's"),
        ("length-large", claims(1_000_001), "the limit is 1000000"),
        ("length-all", claims(u64::MAX), "the limit is 1000000"),
        ("length-sign", claims(1 << 63), "the limit is 1000000"),
        ("length-big-endian", claims((length as u64).swap_bytes()), "the limit is 1000000"),
        ("header-zeros", [&64u64.to_le_bytes()[..], &[0; 64]].concat(), "header: expected value"),
        ("header-deep", file(format!("{{\"a\":{deep}").as_bytes(), &[]), "header:"),
        ("header-list", file(b"[]", &[]), "header:"),
        ("header-none", file(b"{}", &[]), ""),
        ("header-bytes", file(b"{\"\xff\":1}", &[]), "header:"),
        ("header-many", file(format!("{{{}}}", many.trim_end_matches(',')).as_bytes(), &[]), "10001 tensors"),
        (
            "header-large",
            file(format!("{{{}}}", " ".repeat(1_000_000)).as_bytes(), &[]),
            "the limit is 1000000",
        ),
        ("cut-half", whole[..whole.len() / 2].into(), ""),
        ("cut-one", whole[..whole.len() - 1].into(), "bytes, and by its header"),
        ("after", [&whole[..], &[0]].concat(), "bytes, and by its header"),
        ("twice", [&whole[..], &whole[..]].concat(), "bytes, and by its header"),
        ("offsets-past", theirs("data_offsets/1", json!(u64::MAX)), ""),
        ("offsets-swapped", theirs("data_offsets", json!([8, 0])), ""),
        ("offsets-negative", theirs("data_offsets", json!([-8, 0])), "header:"),
        ("offsets-one", theirs("data_offsets", json!([0])), "header:"),
        ("offsets-text", theirs("data_offsets", json!("0,8")), "header:"),
        ("offsets-overlap", overlap(), ""),
        ("shape-overflow", theirs("shape", json!([1u64 << 32, 1u64 << 32])), ""),
        ("shape-large", theirs("shape", json!([1u64 << 40])), ""),
        ("shape-negative", theirs("shape", json!([-1])), "header:"),
        ("shape-fraction", theirs("shape", json!([1.5])), "header:"),
        ("shape-zero", theirs("shape", json!([0])), ""),
        ("type-unknown", theirs("dtype", json!("F31")), "header:"),
        ("type-number", theirs("dtype", json!(7)), "header:"),
        ("type-half", theirs("dtype", json!("F16")), ""),
        ("tensor-null", good.with_head(|head| head[first] = Value::Null), "header:"),
        ("metadata-list", good.with_head(|head| head["__metadata__"] = json!([])), "header:"),
        ("metadata-number", good.with_head(|head| head["__metadata__"]["a"] = json!(1)), "header:"),
    ]
}
