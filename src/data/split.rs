//! The split of a data set's rows into training, validation and test.

use std::collections::BTreeMap;

use ndarray::Array1;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{Task, generator};
use crate::{Error, Result};

/// Row numbers of the three parts, each in rising order; together they hold every row once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// The rows to train on.
    pub train: Vec<u32>,
    /// The rows that choose the epoch to keep.
    pub valid: Vec<u32>,
    /// The rows that measure the result.
    pub test: Vec<u32>,
}

/// How rows are shared out among the parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Splitting {
    /// At random, classes in proportion
    #[default]
    Random,
    /// As they stand: the first to train, then those to validate, the last to test
    Ordered,
}

/// The number of rows, where fractions and rows are such that they can be split.
fn checked(rows: usize, valid: f64, test: f64) -> Result<u32> {
    for (name, fraction) in [("validation", valid), ("test", test)] {
        if !(0.0..1.0).contains(&fraction) {
            return Err(Error::Config(format!("the {name} fraction is {fraction}; it must be in [0, 1)")));
        }
    }
    if valid + test >= 1.0 {
        let message = format!("validation ({valid}) and test ({test}) fractions leave no rows for training");
        return Err(Error::Config(message));
    }
    if rows == 0 {
        return Err(Error::Config("there are no rows to train on".into()));
    }
    u32::try_from(rows).map_err(|_| Error::Config(format!("{rows} rows; the limit is {}", u32::MAX)))
}

/// `max(1, round(fraction * rows))`; none of a fraction of 0.
fn wanted(rows: usize, fraction: f64) -> usize {
    if fraction == 0.0 { 0 } else { ((rows as f64 * fraction).round() as usize).max(1) }
}

/// Splits rows as they stand: the last are the test part, those before them the validation part, of the sizes of
/// [`split`]; a row is left to train.
///
/// # Errors
/// As for [`split`].
pub fn split_ordered(rows: usize, valid: f64, test: f64) -> Result<Split> {
    let count = checked(rows, valid, test)?;
    let test = wanted(rows, test).min(rows - 1);
    let valid = wanted(rows, valid).min(rows - 1 - test);
    let (end, begin) = (count - test as u32, count - (test + valid) as u32);
    Ok(Split { train: (0..begin).collect(), valid: (begin..end).collect(), test: (end..count).collect() })
}

/// Splits rows so that those of a group, which is a number for each row, stay together: groups in random order go one by
/// one to the part that lacks most of its share of the rows.
///
/// # Errors
/// As for [`split`].
pub fn split_groups(groups: &[usize], valid: f64, test: f64, seed: u64) -> Result<Split> {
    let count = checked(groups.len(), valid, test)?;
    let mut rows: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    (0..count).zip(groups).for_each(|(row, group)| rows.entry(*group).or_default().push(row));
    let mut rows: Vec<Vec<u32>> = rows.into_values().collect();
    rows.shuffle(&mut generator(seed, u64::MAX));
    let [valid, test] = [valid, test].map(|fraction| wanted(groups.len(), fraction) as i64);
    let mut parts = [vec![], vec![], vec![]];
    let mut lacking = [i64::from(count) - valid - test, valid, test];
    for group in rows {
        let part = (1..3).fold(0, |most, part| if lacking[part] > lacking[most] { part } else { most });
        lacking[part] -= group.len() as i64;
        parts[part].extend(group);
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    let [train, valid, test] = parts;
    Ok(Split { train, valid, test })
}

/// Splits rows at random: a part of fraction `f` gets `max(1, round(f * rows))` of the `rows` targets,
/// drawn from each class in proportion (largest remainders; a regression is one class).
///
/// Every class keeps a training row, which comes before the size of the other parts, and the test part
/// comes before the validation part. Errors: [`Error::Config`] for a fraction outside `[0, 1)`,
/// fractions that sum to 1 or more, no rows, or more than `u32::MAX` rows.
pub fn split(targets: &Array1<f64>, task: Task, valid: f64, test: f64, seed: u64) -> Result<Split> {
    let count = checked(targets.len(), valid, test)?;
    let mut classes: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for (row, target) in (0..count).zip(targets) {
        let class = if task == Task::Regression { 0 } else { *target as usize };
        classes.entry(class).or_default().push(row);
    }
    let mut generator = generator(seed, u64::MAX);
    classes.values_mut().for_each(|rows| rows.shuffle(&mut generator));

    let sizes: Vec<usize> = classes.values().map(Vec::len).collect();
    let mut take = |fraction: f64| {
        let spare: Vec<usize> = classes.values().map(|rows| rows.len() - 1).collect();
        let mut part = Vec::new();
        for (rows, share) in classes.values_mut().zip(shares(&sizes, &spare, fraction)) {
            part.extend(rows.drain(..share));
        }
        part.sort_unstable();
        part
    };
    let test = take(test);
    let valid = take(valid);
    let mut train: Vec<u32> = classes.into_values().flatten().collect();
    train.sort_unstable();
    Ok(Split { train, valid, test })
}

/// The first `max(1, round(fraction * rows))` rows of a random order in which every class is spread evenly, so that a
/// smaller fraction's rows are among a larger one's and classes keep their proportions; in rising order.
pub fn fraction(rows: &[u32], targets: &Array1<f64>, task: Task, fraction: f64, seed: u64) -> Vec<u32> {
    let mut classes: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for &row in rows {
        let class = if task == Task::Regression { 0 } else { targets[row as usize] as usize };
        classes.entry(class).or_default().push(row);
    }
    let mut generator = generator(seed, u64::MAX - 1);
    let mut order: Vec<(f64, u32)> = vec![];
    for rows in classes.values_mut() {
        rows.shuffle(&mut generator);
        let place = |i: usize| (i as f64 + 0.5) / rows.len() as f64;
        order.extend(rows.iter().enumerate().map(|(i, &row)| (place(i), row)));
    }
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let count = ((rows.len() as f64 * fraction).round() as usize).max(1);
    let mut part: Vec<u32> = order.into_iter().take(count).map(|(_, row)| row).collect();
    part.sort_unstable();
    part
}

/// How many rows each class gives to a part, at most `spare` of each.
fn shares(sizes: &[usize], spare: &[usize], fraction: f64) -> Vec<usize> {
    if fraction == 0.0 {
        return vec![0; sizes.len()];
    }
    let wanted = wanted(sizes.iter().sum(), fraction).min(spare.iter().sum());
    let quotas: Vec<f64> = sizes.iter().map(|size| *size as f64 * fraction).collect();
    let mut shares: Vec<usize> =
        quotas.iter().zip(spare).map(|(quota, spare)| (*quota as usize).min(*spare)).collect();
    for _ in shares.iter().sum()..wanted {
        let open = (0..sizes.len()).filter(|class| shares[*class] < spare[*class]);
        let remainder = |class: usize| quotas[class] - shares[class] as f64;
        // `rev`, as the maximum of equals is the last.
        if let Some(class) = open.rev().max_by(|a, b| remainder(*a).total_cmp(&remainder(*b))) {
            shares[class] += 1;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fractions_are_checked() {
        let targets = Array1::zeros(10);
        for (valid, test) in [(-0.1, 0.0), (1.0, 0.0), (0.0, f64::NAN), (0.5, 0.5), (0.0, f64::INFINITY)] {
            let result = split(&targets, Task::Regression, valid, test, 0);
            assert!(matches!(result, Err(Error::Config(_))), "{valid} {test}: {result:?}");
        }
        assert!(matches!(split(&Array1::zeros(0), Task::Binary, 0.1, 0.1, 0), Err(Error::Config(_))));
    }

    #[test]
    fn classes_keep_their_proportions() {
        let targets = Array1::from_iter((0..1000).map(|row| if row % 10 == 0 { 1.0 } else { 0.0 }));
        let parts = split(&targets, Task::Binary, 0.2, 0.1, 7).unwrap();
        for (part, total, rare) in [(&parts.train, 700, 70), (&parts.valid, 200, 20), (&parts.test, 100, 10)]
        {
            let ones = part.iter().filter(|row| targets[**row as usize] == 1.0).count();
            assert_eq!((part.len(), ones), (total, rare));
        }
        assert_eq!(parts, split(&targets, Task::Binary, 0.2, 0.1, 7).unwrap());
        assert_ne!(parts, split(&targets, Task::Binary, 0.2, 0.1, 8).unwrap());
    }

    #[test]
    fn ordered_parts_are_the_ends_of_the_file() {
        let parts = split_ordered(10, 0.2, 0.3).unwrap();
        assert_eq!((&parts.train[..], &parts.valid[..]), (&[0, 1, 2, 3, 4][..], &[5, 6][..]));
        assert_eq!(parts.test, [7, 8, 9]);
        let sizes = |rows| {
            let parts = split_ordered(rows, 0.01, 0.01).unwrap();
            (parts.train.len(), parts.valid.len(), parts.test.len())
        };
        assert_eq!([sizes(1), sizes(2), sizes(3)], [(1, 0, 0), (1, 0, 1), (1, 1, 1)]);
        assert!(matches!(split_ordered(0, 0.1, 0.1), Err(Error::Config(_))));
    }

    #[test]
    fn groups_stay_together_and_parts_near_their_sizes() {
        // 60 groups of 1 to 5 rows, dealt out over the file.
        let groups: Vec<usize> = (0..180).map(|row| row * row % 60).collect();
        let parts = split_groups(&groups, 0.15, 0.2, 3).unwrap();
        let of = |part: &[u32]| part.iter().map(|&row| groups[row as usize]).collect::<BTreeSet<_>>();
        let (train, valid, test) = (of(&parts.train), of(&parts.valid), of(&parts.test));
        assert!(train.is_disjoint(&valid) && train.is_disjoint(&test) && valid.is_disjoint(&test));
        let mut all = [&parts.train[..], &parts.valid, &parts.test].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..180));
        let largest = groups.iter().map(|group| groups.iter().filter(|other| *other == group).count()).max();
        for (part, wanted) in [(&parts.valid, 27), (&parts.test, 36)] {
            assert!(part.len().abs_diff(wanted) <= largest.unwrap(), "{} of {wanted}", part.len());
        }
        assert_eq!(parts, split_groups(&groups, 0.15, 0.2, 3).unwrap());
        assert_ne!(parts, split_groups(&groups, 0.15, 0.2, 4).unwrap());
        // One group is one part's.
        assert_eq!(split_groups(&[7; 9], 0.3, 0.3, 0).unwrap().train.len(), 9);
    }

    #[test]
    fn a_small_fraction_gets_a_row() {
        let parts = split(&Array1::zeros(5), Task::Regression, 0.01, 0.01, 0).unwrap();
        assert_eq!((parts.train.len(), parts.valid.len(), parts.test.len()), (3, 1, 1));
        let parts = split(&Array1::zeros(1), Task::Regression, 0.4, 0.4, 0).unwrap();
        assert_eq!((parts.train.len(), parts.valid.len(), parts.test.len()), (1, 0, 0));
    }

    #[test]
    fn fractions_are_nested_and_keep_the_classes() {
        let targets = Array1::from_iter((0..1000).map(|row| if row % 10 == 0 { 1.0 } else { 0.0 }));
        let rows: Vec<u32> = (200..700).collect();
        let part = |share, seed| fraction(&rows, &targets, Task::Binary, share, seed);
        for (share, count, rare) in [(0.1, 50, 5), (0.5, 250, 25), (0.999, 500, 50), (1.0, 500, 50)] {
            let part = part(share, 3);
            let ones = part.iter().filter(|row| targets[**row as usize] == 1.0).count();
            assert_eq!((part.len(), ones, part.is_sorted()), (count, rare, true), "{share}");
        }
        assert!(part(0.1, 3).iter().all(|row| part(0.2, 3).contains(row)));
        assert_ne!(part(0.1, 3), part(0.1, 4));
        assert_eq!(part(1.0, 9), rows);
        assert_eq!(fraction(&rows, &targets, Task::Regression, 1e-9, 0).len(), 1);
    }

    proptest! {
        #[test]
        fn a_split_is_a_partition(
            classes in prop::collection::vec(0u8..6, 1..200),
            valid in 0.0..0.99f64,
            rest in 0.0..0.99f64,
            seed: u64,
            task in prop::sample::select(vec![Task::Binary, Task::Classification, Task::Regression]),
        ) {
            let test = rest * (1.0 - valid);
            let targets = Array1::from_iter(classes.iter().map(|class| f64::from(*class)));
            let parts = split(&targets, task, valid, test, seed).unwrap();
            let mut all = [&parts.train[..], &parts.valid, &parts.test].concat();
            all.sort_unstable();
            prop_assert!(all.iter().copied().eq(0..classes.len() as u32));
            prop_assert!([&parts.train, &parts.valid, &parts.test].iter().all(|part| part.is_sorted()));

            let mut kinds = classes.clone();
            kinds.sort_unstable();
            kinds.dedup();
            let class = |row: &u32| classes[*row as usize];
            if task == Task::Regression {
                kinds.truncate(1);
                prop_assert!(!parts.train.is_empty());
            } else {
                prop_assert!(kinds.iter().all(|kind| parts.train.iter().any(|row| class(row) == *kind)));
            }
            let mut spare = classes.len() - kinds.len();
            for (part, fraction) in [(&parts.test, test), (&parts.valid, valid)] {
                let wanted = (classes.len() as f64 * fraction).round() as usize;
                let least = usize::from(fraction > 0.0);
                prop_assert!(part.len().abs_diff(wanted.max(least).min(spare)) <= 1);
                spare -= part.len();
            }
        }
    }
}
