//! The look of each contender, the same in every plot and bar. Colours are Okabe and Ito's, which
//! the colour-blind can tell apart. Shapes serve readers who see no colours.

/// The mark of a line's points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkerShape {
    Circle,
    Square,
    Diamond,
    Up,
    Down,
    Plus,
    Bar,
}

/// A class of the page's style, and a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) class: &'static str,
    pub(super) shape: MarkerShape,
}

/// The look of a contender, or of a line of ours.
pub(super) fn look(name: &str) -> Look {
    let (class, shape) = match name {
        "ours" | "click at all nodes" | "a click, a node" => ("c-ours", MarkerShape::Circle),
        "crdts" => ("c-crdts", MarkerShape::Square),
        "crdts by hand" | "fresh node synced" | "idle, a node and second" => {
            ("c-hand", MarkerShape::Diamond)
        }
        "automerge" => ("c-automerge", MarkerShape::Plus),
        "loro" => ("c-loro", MarkerShape::Down),
        "yrs" => ("c-yrs", MarkerShape::Up),
        name if name.starts_with("bound") => ("c-bound", MarkerShape::Bar),
        name if name.starts_with("floor") || name == "entropy" => ("c-floor", MarkerShape::Bar),
        name if ["redb", "Redis", "node ws"].iter().any(|start| name.starts_with(start)) => {
            ("c-peer", MarkerShape::Square)
        }
        _ => ("c-other", MarkerShape::Diamond),
    };
    Look { class, shape }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_of_one_plot_differ_in_colour_and_shape() {
        let names =
            ["ours", "crdts", "crdts by hand", "automerge", "loro", "yrs", "bound: string map"];
        for (at, one) in names.iter().enumerate() {
            for other in &names[at + 1..] {
                assert!(
                    look(one).class != look(other).class && look(one).shape != look(other).shape,
                    "{one}, {other}"
                );
            }
        }
    }
}
