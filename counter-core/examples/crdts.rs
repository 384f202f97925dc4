//! Two replicas count on their own and are then joined by `CvRDT`, the trait of the `crdts` crate.
//!
//! `cargo run -p counter-core --example crdts`

use std::error::Error;

use counter_core::{Replica, ReplicaId};
use crdts::CvRDT;

fn main() -> Result<(), Box<dyn Error>> {
    let mut ord = Replica::new(ReplicaId::new(1, 1), "ord")?;
    let mut fra = Replica::new(ReplicaId::new(2, 1), "fra")?;
    ord.add("clicks", 5)?;
    fra.add("clicks", 7)?;
    fra.subtract("clicks", 1)?;

    let (mut here, there) = (ord.into_map(), fra.into_map());
    here.validate_merge(&there)?;
    here.merge(there.clone());
    here.merge(there); // once more changes nothing

    println!("clicks: {}", here.total("clicks"));
    for (region, value) in here.regions("clicks") {
        println!("  in {region}: {value}");
    }
    assert_eq!(here.total("clicks"), 11);
    Ok(())
}

#[test]
fn replicas_join() {
    main().unwrap();
}
