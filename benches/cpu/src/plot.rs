//! Bars, one group per guest: time in parts of wasmtime's.

use std::fmt::Write;

use crate::measure::{Measured, Runner};

/// Whose bars, and their colours.
const BARS: [(Runner, &str); 3] =
    [(Runner::Quick, "#d9a441"), (Runner::Top, "#2f6fb0"), (Runner::Native, "#8a8a8a")];
const LEFT: f64 = 50.0;
const TOP: f64 = 70.0;
const HEIGHT: f64 = 260.0;
const BAR: f64 = 12.0;
const GROUP: f64 = 52.0;
/// What is longer is cut.
const MOST: f64 = 2.0;

/// The picture.
pub fn svg(lines: &[String], measured: &[Measured]) -> String {
    let width = LEFT + GROUP * measured.len() as f64 + 20.0;
    let bottom = TOP + HEIGHT;
    let y = |ratio: f64| bottom - ratio.min(MOST) / MOST * HEIGHT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"18\" font-size=\"14\">CPU time in parts of wasmtime's (less is better)</text>\n",
        bottom + 110.0
    );
    // Writing to a string cannot fail; likewise below.
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"34\" fill=\"#555\">{}</text>", escaped(&lines.join("; ")));
    for (number, (runner, colour)) in BARS.iter().enumerate() {
        let x = LEFT + 130.0 * number as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"44\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"53\">{}</text>",
            x + 14.0,
            runner.name()
        );
    }
    for step in 0..=8 {
        let ratio = MOST * f64::from(step) / 8.0;
        let (line, colour) = (y(ratio), if ratio == 1.0 { "#c03030" } else { "#ddd" });
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{width}\" y1=\"{line}\" y2=\"{line}\" stroke=\"{colour}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{ratio:.2}</text>",
            LEFT - 6.0,
            line + 4.0
        );
    }
    for (number, guest) in measured.iter().enumerate() {
        let left = LEFT + GROUP * number as f64 + 8.0;
        let Some(whole) = guest.time(Runner::Wasmtime) else { continue };
        for (place, (runner, colour)) in BARS.iter().enumerate() {
            let Some(time) = guest.time(*runner) else { continue };
            let ratio = time.as_secs_f64() / whole.as_secs_f64();
            let (x, top) = (left + BAR * place as f64, y(ratio));
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{top}\" width=\"{}\" height=\"{}\" fill=\"{colour}\">\
                 <title>{}, {}: {ratio:.2}</title></rect>",
                BAR - 1.0,
                bottom - top,
                escaped(&guest.name),
                runner.name()
            );
        }
        let x = left + BAR * 1.5;
        let _ = writeln!(
            svg,
            "<text transform=\"translate({x},{}) rotate(45)\">{}</text>",
            bottom + 14.0,
            escaped(&guest.name)
        );
    }
    svg + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
