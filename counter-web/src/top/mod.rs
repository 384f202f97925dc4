//! `counter-web top`: the cluster live in a terminal, as the nodes on this machine tell it over
//! their operators' sockets.

mod frame;
mod sample;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use self::sample::{Picture, Sample};
use crate::cli::TopArgs;
use crate::cli::exit::{CommandError, print};
use crate::operator;

/// Time between two looks at the nodes: rates are of this long.
const INTERVAL: Duration = Duration::from_secs(1);

/// The size of a frame that is printed; longer where there is more to say.
const PRINTED: (u16, u16) = (80, 24);

/// The most lines of a frame that is printed.
const PRINTED_LINES_MAX: u16 = 4_096;

/// Draws every second until q, Esc or Ctrl-C; or prints one frame.
///
/// # Errors
///
/// Where no node answers, or there is no terminal to draw in.
pub(crate) async fn run(args: TopArgs) -> Result<(), CommandError> {
    let mut last = look(&args.admin).await?;
    if args.once {
        tokio::time::sleep(INTERVAL).await;
        let picture = Picture::of(&last, &look(&args.admin).await?);
        return print(printed(&picture)?);
    }
    if !std::io::stdout().is_terminal() {
        return Err(CommandError::argument(
            "top draws in a terminal: write top --once to print one frame",
        ));
    }
    let mut picture = Picture::of(&last, &last);
    let mut terminal = ratatui::try_init().map_err(CommandError::other)?;
    let outcome = loop {
        if let Err(error) = terminal.draw(|target| frame::draw(&picture, target)) {
            break Err(CommandError::other(error));
        }
        match tokio::task::block_in_place(wait) {
            Ok(Wish::Stop) => break Ok(()),
            Ok(Wish::Draw) => {}
            Ok(Wish::Look) => match look(&args.admin).await {
                Ok(next) => {
                    picture = Picture::of(&last, &next);
                    last = next;
                }
                // Nodes stop and start again; what was seen last stays, and says that it is old.
                Err(failure) => picture.stale(&failure),
            },
            Err(error) => break Err(CommandError::other(error)),
        }
    };
    ratatui::restore();
    outcome
}

/// What is to be done next.
enum Wish {
    Look,
    Draw,
    Stop,
}

/// Waits for a key or until it is time to look again.
fn wait() -> std::io::Result<Wish> {
    let end = Instant::now() + INTERVAL;
    while event::poll(end.saturating_duration_since(Instant::now()))? {
        match event::read()? {
            Event::Resize(..) => return Ok(Wish::Draw),
            Event::Key(key) if key.kind == KeyEventKind::Press => {
                let interrupt =
                    key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(Wish::Stop);
                }
            }
            _ => {}
        }
    }
    Ok(Wish::Look)
}

/// Asks every node; one that does not answer is left out as long as another does.
async fn look(sockets: &[PathBuf]) -> Result<Vec<Sample>, CommandError> {
    let sockets = if sockets.is_empty() { operator::sockets().await? } else { sockets.to_vec() };
    let (mut samples, mut silent) = (Vec::new(), None);
    for socket in sockets {
        match operator::converse(&socket, "status").await {
            Ok(answer) => samples.push(Sample::read(&answer)),
            Err(failure) => silent = Some(failure),
        }
    }
    samples.sort_by(|one, other| (&one.region, &one.replica).cmp(&(&other.region, &other.replica)));
    match silent {
        Some(failure) if samples.is_empty() => Err(failure),
        _ => Ok(samples),
    }
}

/// The frame as text, without the blanks at the ends of lines.
fn printed(picture: &Picture) -> Result<String, CommandError> {
    let (width, lines) = PRINTED;
    let lines = lines.max(frame::lines(picture)).min(PRINTED_LINES_MAX);
    let mut terminal =
        Terminal::new(TestBackend::new(width, lines)).map_err(CommandError::other)?;
    terminal.draw(|target| frame::draw(picture, target)).map_err(CommandError::other)?;
    let buffer = terminal.backend().buffer();
    let row = |y: u16| {
        (0..width)
            .filter_map(|x| buffer.cell((x, y)))
            .map(ratatui::buffer::Cell::symbol)
            .collect::<String>()
    };
    let rows: Vec<String> = (0..lines).map(|y| row(y).trim_end().to_owned()).collect();
    Ok(rows.join("\n").trim_end().to_owned())
}
