//! A batch is added as a whole, or refused as a whole with the index of its first bad add.

use counter_core::{
    AMOUNT_MAX, AddOutcome, Amounts, BATCH_ADDS_MAX, BatchAdd, BatchRefused, CELL_MAX, CounterMap,
    Replica, ReplicaId, VersionVector, WriteError,
};

const ME: ReplicaId = ReplicaId::new(1, 1);
const OTHER: ReplicaId = ReplicaId::new(2, 1);

fn replica() -> Replica {
    Replica::new(ME, "ord").unwrap()
}

fn refused(index: usize, error: WriteError) -> Result<Vec<AddOutcome>, BatchRefused> {
    Err(BatchRefused { index, error })
}

/// All that a refusal must leave alone.
fn facts(replica: &mut Replica) -> (VersionVector, usize, bool, i128) {
    let map = replica.map();
    let (counters, total) = (map.counter_count(), map.total_of_all());
    (map.version_vector(), counters, replica.has_pending(), total)
}

#[test]
fn refused_batch_changes_nothing() {
    let mut ord = replica();
    ord.add_many(&[BatchAdd::new("clicks", 1), BatchAdd::new("likes", 2).with_id("a:1")]).unwrap();
    ord.flush();
    let before = facts(&mut ord);
    let good = [
        BatchAdd::new("new", 1),
        BatchAdd::new("clicks", 1),
        BatchAdd::new("newer", 1).with_id("a:2"),
        BatchAdd::new("likes", 1).with_id("a:1"),
    ];
    let (long_id, long_name) = ("i".repeat(65), "n".repeat(129));
    for (bad, error) in [
        (BatchAdd::new("clicks", 0), WriteError::AmountOutOfRange),
        (BatchAdd::new("clicks", AMOUNT_MAX as i64 + 1), WriteError::AmountOutOfRange),
        (BatchAdd::new("clicks", i64::MIN), WriteError::AmountOutOfRange),
        (BatchAdd::new("", 1), WriteError::NameOutOfRange),
        (BatchAdd::new("a\nb", 1), WriteError::NameOutOfRange),
        (BatchAdd::new(&long_name, 1), WriteError::NameOutOfRange),
        (BatchAdd::new("clicks", 1).with_id(""), WriteError::IdOutOfRange),
        (BatchAdd::new("clicks", 1).with_id(&long_id), WriteError::IdOutOfRange),
        (BatchAdd::new("", 1).with_id("a:1"), WriteError::NameOutOfRange),
    ] {
        for at in 0..=good.len() {
            let mut batch = good.to_vec();
            batch.insert(at, bad);
            batch.push(BatchAdd::new("clicks", 0));
            assert_eq!(ord.add_many(&batch), refused(at, error), "{bad:?}");
            assert_eq!(facts(&mut ord), before, "{bad:?}");
        }
    }
    assert_eq!(ord.flush().span, None, "nothing was written");
    let applied =
        [AddOutcome::Applied, AddOutcome::Applied, AddOutcome::Applied, AddOutcome::Repeated];
    assert_eq!(ord.add_many(&good).unwrap(), applied, "the ids of refused adds are new");
    assert_eq!(ord.add_many(&[]), Ok(Vec::new()));
}

#[test]
fn second_of_two_equal_ids_is_a_repeat() {
    let mut ord = replica();
    let batch = [
        BatchAdd::new("clicks", 5).with_id("tab:1"),
        BatchAdd::new("clicks", 5).with_id("tab:1"),
        BatchAdd::new("another", 7).with_id("tab:1"),
        BatchAdd::new("clicks", 2),
        BatchAdd::new("clicks", -4),
    ];
    assert_eq!(
        ord.add_many(&batch).unwrap(),
        [
            AddOutcome::Applied,
            AddOutcome::Repeated,
            AddOutcome::Repeated,
            AddOutcome::Applied,
            AddOutcome::Applied
        ]
    );
    assert_eq!((ord.total("clicks"), ord.map().counter_count()), (3, 1));
    let mut fra = Replica::new(OTHER, "fra").unwrap();
    ord.flush();
    fra.join_delta(ord.map().delta_since(&VersionVector::new())).unwrap();
    assert_eq!(fra.add_many(&batch[..3]).unwrap(), [AddOutcome::Repeated; 3]);
    assert_eq!(fra.total("clicks"), 3);
}

#[test]
fn forgotten_number_does_not_stop_the_batch() {
    let map = CounterMap::new().with_dedup_max(16);
    let mut ord = Replica::with_map(ME, "ord", map).unwrap();
    for number in 1..=400 {
        ord.add_once(&format!("tab:{number}"), "clicks", 1).unwrap();
    }
    let batch = ["tab:2", "tab:400", "tab:401"].map(|id| BatchAdd::new("clicks", 1).with_id(id));
    let results = ord.add_many(&batch).unwrap();
    assert!(matches!(results[0], AddOutcome::Repeated | AddOutcome::CannotTell), "{results:?}");
    assert_eq!(results[1..], [AddOutcome::Repeated, AddOutcome::Applied]);
    assert_eq!(ord.total("clicks"), 401);
    // A batch that pushes out its own entries adds no number twice.
    let ids: Vec<String> = (402..1_402).rev().map(|number| format!("tab:{number}")).collect();
    let batch: Vec<BatchAdd<'_>> =
        ids.iter().map(|id| BatchAdd::new("clicks", 1).with_id(id)).collect();
    let first = ord.add_many(&batch).unwrap();
    let applied = first.iter().filter(|outcome| **outcome == AddOutcome::Applied).count();
    assert_eq!(ord.total("clicks"), 401 + applied as i128);
    assert!(ord.add_many(&batch).unwrap().iter().all(|outcome| *outcome != AddOutcome::Applied));
}

#[test]
fn adds_by_name_become_one_version_each_counter() {
    let mut ord = replica();
    let batch: Vec<BatchAdd<'_>> =
        (0..1_000).map(|at| BatchAdd::new(["a", "b", "c"][at % 3], 1)).collect();
    ord.add_many(&batch).unwrap();
    let flushed = ord.flush();
    assert_eq!(flushed.span.map(|span| span.upto - span.after), Some(3));
    assert_eq!(ord.map().total_of_all(), 1_000);
}

#[test]
fn full_cell_refuses_the_batch() {
    let mut map = CounterMap::new();
    let key = map.intern("clicks", "ord").unwrap();
    map.change_key(ME, key, Amounts { increments: CELL_MAX, decrements: 0 }).unwrap();
    let mut ord = Replica::with_map(ME, "ord", map).unwrap();
    let before = facts(&mut ord);
    for bad in [BatchAdd::new("clicks", 1), BatchAdd::new("clicks", 1).with_id("a:1")] {
        let batch = [BatchAdd::new("clicks", -1), BatchAdd::new("new", 1), bad];
        assert_eq!(ord.add_many(&batch), refused(2, WriteError::CellFull));
        assert_eq!(facts(&mut ord), before);
    }
    ord.add_many(&[BatchAdd::new("clicks", -1), BatchAdd::new("clicks", -2).with_id("a:1")])
        .unwrap();
    assert_eq!(ord.total("clicks"), i128::from(CELL_MAX) - 3);
}

/// The room is judged once, at the beginning. A batch that begins just below the bound fits.
#[test]
fn batch_that_fills_a_cell_is_added_whole() {
    let most = AMOUNT_MAX as i64;
    let ids: Vec<String> = (1..=BATCH_ADDS_MAX / 2).map(|number| format!("a:{number}")).collect();
    let batch: Vec<BatchAdd<'_>> = ids
        .iter()
        .flat_map(|id| [BatchAdd::new("clicks", most), BatchAdd::new("clicks", most).with_id(id)])
        .collect();
    let mut map = CounterMap::new();
    let key = map.intern("clicks", "ord").unwrap();
    let start = CELL_MAX - (1 << 60);
    map.change_key(ME, key, Amounts { increments: start, decrements: 0 }).unwrap();
    let mut ord = Replica::with_map(ME, "ord", map).unwrap();
    ord.add_many(&batch).unwrap();
    let total = i128::from(start) + BATCH_ADDS_MAX as i128 * i128::from(most);
    assert_eq!(ord.total("clicks"), total);
    ord.flush();
    assert_eq!(ord.map().total("clicks"), total);
    assert_eq!(ord.add_many(&batch[..1]), refused(0, WriteError::CellFull));
}

#[test]
fn room_for_new_counters_is_judged_too() {
    let bounded = |counters| {
        let map = CounterMap::with_bounds(counters, 8);
        let mut ord = Replica::with_map(ME, "ord", map).unwrap();
        ord.add("old", 1).unwrap();
        ord.flush();
        ord
    };
    let batch = [
        BatchAdd::new("a", 1).with_id("x:1"),
        BatchAdd::new("never made", 1).with_id("x:1"),
        BatchAdd::new("b", 1),
        BatchAdd::new("a", 1),
        BatchAdd::new("old", 1),
        BatchAdd::new("c", 1),
    ];
    let mut three = bounded(3);
    let before = facts(&mut three);
    assert_eq!(three.add_many(&batch), refused(5, WriteError::TooManyCounters));
    assert_eq!(facts(&mut three), before);
    let mut four = bounded(4);
    four.add_many(&batch).unwrap();
    assert_eq!((four.map().counter_count(), four.total("old")), (4, 2));
    let one_more = [BatchAdd::new("old", 1), BatchAdd::new("d", 1)];
    assert_eq!(four.add_many(&one_more), refused(1, WriteError::TooManyCounters));
    assert_eq!(four.total("old"), 2);
}

#[test]
fn batch_is_bounded() {
    let mut ord = replica();
    let mut batch = vec![BatchAdd::new("clicks", 1); BATCH_ADDS_MAX];
    ord.add_many(&batch).unwrap();
    batch.push(batch[0]);
    assert_eq!(ord.add_many(&batch), refused(BATCH_ADDS_MAX, WriteError::TooManyAdds));
    assert_eq!(ord.total("clicks"), BATCH_ADDS_MAX as i128);
    assert!(WriteError::TooManyAdds.to_string().contains(&BATCH_ADDS_MAX.to_string()));
}

#[test]
fn replica_that_has_left_answers_repeats_only() {
    let mut ord = replica();
    let outcome = BatchAdd::new("clicks", 1).with_id("a:1");
    ord.add_many(&[outcome]).unwrap();
    ord.leave().unwrap();
    assert_eq!(ord.add_many(&[outcome]).unwrap(), [AddOutcome::Repeated]);
    for bad in [BatchAdd::new("clicks", 1), BatchAdd::new("clicks", 1).with_id("a:2")] {
        assert_eq!(ord.add_many(&[outcome, bad]), refused(1, WriteError::Left));
    }
    assert_eq!(ord.total("clicks"), 1);
}

/// Random batches against the same adds one by one: equal results and states. Of a refused batch,
/// the first bad add fails alone too, after those before it.
#[test]
fn batch_equals_its_adds_one_by_one() {
    let one = |replica: &mut Replica, add: &BatchAdd<'_>| match add.id {
        Some(id) => replica.add_once(id, add.counter, add.amount),
        None if add.amount < 0 => {
            replica.subtract(add.counter, add.amount.unsigned_abs()).map(|()| AddOutcome::Applied)
        }
        None => replica.add(add.counter, add.amount as u64).map(|()| AddOutcome::Applied),
    };
    let mut random = fastrand::Rng::with_seed(7);
    let names = ["a", "b", "c", "d", "e", "f", ""];
    let (mut accepted, mut rejected) = (0, 0);
    for _ in 0..200 {
        let map = CounterMap::with_bounds(4, 8);
        let mut whole = Replica::with_map(ME, "ord", map.clone()).unwrap();
        let mut single = Replica::with_map(ME, "ord", map).unwrap();
        for _ in 0..20 {
            let ids: Vec<String> = (0..8)
                .map(|_| format!("{}:{}", ["x", "y"][random.usize(..2)], random.u64(1..400)))
                .collect();
            let batch: Vec<BatchAdd<'_>> = ids
                .iter()
                .map(|id| {
                    let count = if random.u8(..20) == 0 { names.len() } else { 5 };
                    let name = names[random.usize(..count)];
                    let add = BatchAdd::new(name, random.i64(-3..40));
                    // The name of a repeat is checked too, unlike that of a single one.
                    if random.bool() && !name.is_empty() { add.with_id(id) } else { add }
                })
                .collect();
            match whole.add_many(&batch) {
                Ok(results) => {
                    let expected: Vec<AddOutcome> =
                        batch.iter().map(|add| one(&mut single, add).unwrap()).collect();
                    assert_eq!(results, expected);
                    accepted += 1;
                }
                Err(BatchRefused { index, error }) => {
                    single.flush();
                    let mut scratch = Replica::with_map(ME, "ord", single.map().clone()).unwrap();
                    let alone = batch[index];
                    for add in &batch[..index] {
                        one(&mut scratch, add).unwrap();
                    }
                    assert!(one(&mut scratch, &alone).is_err(), "{error}: {batch:?}");
                    rejected += 1;
                }
            }
            if random.bool() {
                whole.flush();
                single.flush();
            }
            for name in names {
                assert_eq!(whole.total(name), single.total(name));
            }
            assert_eq!(whole.map().counter_count(), single.map().counter_count());
        }
    }
    assert!(accepted > 500 && rejected > 500, "{accepted} and {rejected}");
}
