//! Configuration files.

use super::{Case, DEEP, case, refuse, trained};

const TRAIN: &str = "train good.csv --target c --config @ --device cpu --out none";

/// Values that no flag takes: the line, and what the message says of it; all on line 1.
const VALUES: &[(&str, &str, &str)] = &[
    ("epochs-text", "epochs = 'many'", "'many'"),
    ("epochs-negative", "epochs = -1", "'-1'"),
    ("epochs-fraction", "epochs = 1.5", "'1.5'"),
    ("epochs-truth", "epochs = true", "'true'"),
    ("epochs-large", "epochs = '99999999999999999999'", "'99999999999999999999'"),
    ("epochs-list", "epochs = [1, 2]", "'1,2'"),
    ("epochs-empty", "epochs = ''", "epochs"),
    ("lr-text", "lr = 'fast'", "'fast'"),
    ("lr-date", "lr = 1979-05-27", "lr must be a text, a number"),
    ("lr-time", "lr = 07:32:00", "lr must be a text, a number"),
    ("batch-negative", "batch = -5", "'-5'"),
    ("seed-negative", "seed = -1", "'-1'"),
    ("seed-fraction", "seed = 0.5", "'0.5'"),
    ("hidden-text", "hidden = 'wide'", "wide"),
    ("hidden-negative", "hidden = [8, -3]", "-3"),
    ("hidden-nested", "hidden = [[1], [2]]", "a list of more than numbers and texts"),
    ("hidden-tables", "hidden = [{ units = 3 }]", "a list of more than numbers and texts"),
    ("task", "task = 'guess'", "'guess'"),
    ("optimizer", "optimizer = 'sdg'", "'sdg'"),
    ("schedule", "schedule = 'up'", "'up'"),
    ("norm", "norm = 'batch'", "'batch'"),
    ("standardize", "standardize = 'yes'", "'yes'"),
    ("missing", "missing = 'ignore'", "'ignore'"),
    ("log", "log = 'all'", "'all'"),
    ("checkpoints", "checkpoint-every = 'often'", "'often'"),
    ("max-time", "max-time = 'a while'", "'a while'"),
    ("max-time-negative", "max-time = '-5s'", "'-5s'"),
    ("quiet-text", "quiet = 'maybe'", "maybe"),
    ("quiet-number", "quiet = 3", "3"),
    ("target-table", "target = { name = 'c' }", "target must be a text"),
    ("valid-text", "valid = { rows = 5 }", "valid must be a text"),
    ("unknown", "color = 'red'", "no setting \"color\""),
    ("near", "epocs = 3", "did you mean \"epochs\"?"),
    ("case", "Epochs = 3", "did you mean \"epochs\"?"),
    ("underscore", "weight_decay = 1", "did you mean \"weight-decay\"?"),
    ("short", "h = true", "no setting \"h\""),
    ("help", "help = true", "help"),
    ("dashes", "'--epochs' = 3", "no setting \"--epochs\""),
    ("flag-in-key", "'epochs=3 --force' = 1", "no setting"),
    ("path-key", "'../../x' = 1", "no setting \"../../x\""),
    ("escape-key", "\"\\u001b[31m\" = 1", "no setting \"\\u{1b}[31m\""),
    ("escape-value", "epochs = \"\\u001b[31m\"", "invalid digit"),
    ("nothing-key", "'' = 1", "no setting \"\""),
    ("config", "config = 'other.toml'", "\"config\""),
    ("itself", "config = '@'", "\"config\""),
    ("out", "out = '../elsewhere'", "on the command line"),
    ("resume", "resume = '../elsewhere'", "on the command line"),
];

/// What is no TOML, and the line that the message names.
const SYNTAX: &[(&str, &str, &str)] = &[
    ("no-value", "target = \n", "line 1"),
    ("no-key", "= 3\n", "line 1"),
    ("no-equals", "epochs 3\n", "line 1"),
    ("two-equals", "epochs = = 3\n", "line 1"),
    ("word", "epochs = many\n", "line 1"),
    ("two-values", "epochs = 3 4\n", "line 1"),
    ("two-keys", "epochs = 3 lr = 4\n", "line 1"),
    ("open-text", "target = \"c\nepochs = 3\n", "line 1"),
    ("open-literal", "target = 'c\nepochs = 3\n", "line 1"),
    ("open-list", "epochs = 3\nhidden = [1, 2\n", "line 2"),
    ("open-table", "[run\nepochs = 3\n", "line 1"),
    ("open-inline", "lr = { a = 1\n", "line 1"),
    ("bad-escape", "target = \"\\q\"\n", "line 1"),
    ("bad-unicode", "target = \"\\ud800\"\n", "line 1"),
    ("control", "epochs = 3\ntarget = \"\x01\"\n", "line 2"),
    ("zero-byte", "epochs = 3\n\0\n", "line 2"),
    ("bare-return", "epochs = 3\rlr = 1\n", "line 1"),
    ("twice", "epochs = 3\nlr = 1\nepochs = 4\n", "line 3"),
    ("twice-quoted", "epochs = 3\n\"epochs\" = 4\n", "line 2"),
    ("leading-zero", "epochs = 03\n", "line 1"),
    ("past-64-bits", "epochs = 99999999999999999999\n", "line 1"),
    ("underscores", "epochs = 1__0\n", "line 1"),
    ("json", "{\"epochs\": 3}\n", "line 1"),
    ("yaml", "epochs: 3\n", "line 1"),
    ("ini-comment", "; a comment\nepochs = 3\n", "line 1"),
    ("month", "lr = 2024-13-01\n", "line 1"),
];

pub fn cases() -> Vec<Case> {
    let mut all = vec![];
    for &(name, line, said) in VALUES {
        let name = format!("value-{name}.toml");
        all.push(case(&name, format!("{line}\n").replace('@', &name), TRAIN, 2, &["@, line 1", said]));
    }
    for &(name, text, line) in SYNTAX {
        all.push(case(&format!("syntax-{name}.toml"), text, TRAIN, 2, &[line]));
    }
    all.extend(wholes());
    all.extend(paths());
    all
}

fn wholes() -> Vec<Case> {
    let nested = |open: &str| format!("epochs = 3\nhidden = {}", open.repeat(DEEP));
    let bytes: Vec<u8> = (0..=255).collect();
    vec![
        case("deep-lists.toml", nested("["), TRAIN, 2, &["line 2"]),
        case("deep-tables.toml", nested("{a="), TRAIN, 2, &["line 2"]),
        case("deep-keys.toml", format!("{}a = 1\n", "a.".repeat(DEEP)), TRAIN, 2, &["recursion limit"]),
        case("deep-headers.toml", format!("[{}a]\n", "a.".repeat(DEEP)), TRAIN, 2, &["recursion limit"]),
        case("table.toml", "epochs = 3\n[target]\nname = 'c'\n", TRAIN, 2, &["target must be"]),
        case("tables.toml", "[[hidden]]\nunits = 3\n", TRAIN, 2, &["hidden is a list of more than"]),
        case("dotted.toml", "epochs.number = 3\n", TRAIN, 2, &["epochs must be"]),
        case("bytes.toml", bytes, TRAIN, 6, &["UTF-8", "byte 128"]),
        case("latin.toml", &b"target = 'caf\xe9'\n"[..], TRAIN, 6, &["UTF-8", "byte 13"]),
        case("utf16.toml", &b"\xff\xfee\0p\0"[..], TRAIN, 6, &["UTF-8", "byte 0"]),
        case("large.toml", "# a comment\n".repeat(100_000), TRAIN, 6, &["over 1000000 bytes"]),
        case(
            "many.toml",
            (0..20_000).map(|i| format!("k{i} = {i}\n")).collect::<String>(),
            TRAIN,
            2,
            &["line 1, column 1", "\"k0\""],
        ),
        case("gzip.toml", super::super::gzip(b"epochs = 3\n"), TRAIN, 6, &["UTF-8", "byte 1"]),
    ]
}

/// Files that a configuration names are data, and read as data only.
fn paths() -> Vec<Case> {
    let named = |name: &str, text: &str, code, said: &[&str]| {
        let mut case = case(name, format!("{text}\n"), TRAIN, code, said);
        // The message is of the file that is named.
        case.words.pop();
        case
    };
    vec![
        named("names-valid.toml", "valid = '../../absent.csv'", 6, &["../../absent.csv"]),
        named("names-test.toml", "test = '/etc/passwd'", 3, &["/etc/passwd"]),
        named("names-endless.toml", "test = '/dev/zero'", 6, &["/dev/zero", "no regular file"]),
        named("names-labels.toml", "labels = '/etc/passwd'", 3, &["--labels /etc/passwd"]),
        named("names-weights.toml", "init-weights = '/etc/passwd'", 6, &["/etc/passwd", "safetensors"]),
        named("names-escape.toml", "test = \"\\u001b[31m.csv\"", 6, &["\\u{1b}[31m.csv"]),
        named("names-folder.toml", "test = '..'", 6, &["..", "no regular file"]),
    ]
}

#[test]
fn configurations_are_refused() {
    refuse(&trained("hostile-config"), cases());
}
