//! A bar chart as SVG: groups of bars, each of one or more segments. Plain shapes and text, readable without scripts.

use std::fmt::Write as _;

/// A chart.
#[derive(Debug, Default)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// What segments are, in order. One segment: no legend.
    pub legend: Vec<&'static str>,
    /// From top to bottom.
    pub groups: Vec<Group>,
}

/// Bars that are compared with each other.
#[derive(Debug)]
pub struct Group {
    /// Above them.
    pub label: String,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

/// A bar.
#[derive(Debug)]
pub struct Bar {
    /// Left of it.
    pub label: String,
    /// From left to right; negative ones are drawn as nothing.
    pub segments: Vec<f64>,
    /// Which colour the first segment has.
    pub tint: usize,
    /// Right of it.
    pub text: String,
}

const WIDTH: f64 = 960.0;
const LEFT: f64 = 310.0;
const RIGHT: f64 = 130.0;
const BAR: f64 = 16.0;
const STEP: f64 = 22.0;
const COLOURS: [&str; 7] = ["#2f6f9f", "#e08a2e", "#4b9b5f", "#b5495b", "#7b68a6", "#8c8c8c", "#c9b037"];

impl Chart {
    /// The document.
    pub fn svg(&self) -> String {
        let bars: usize = self.groups.iter().map(|group| group.bars.len()).sum();
        let legend = if self.legend.len() > 1 { 24.0 } else { 0.0 };
        let height = 48.0 + legend + bars as f64 * STEP + self.groups.len() as f64 * 34.0;
        let longest = self.groups.iter().flat_map(|group| &group.bars).map(Bar::length).fold(0.0, f64::max);
        let scale = if longest > 0.0 { (WIDTH - LEFT - RIGHT) / longest } else { 0.0 };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        );
        text(&mut svg, 12.0, 26.0, "start", "font-size=\"16\" font-weight=\"bold\"", &self.title);
        if legend > 0.0 {
            self.legend(&mut svg);
        }
        let mut y = 48.0 + legend;
        for group in &self.groups {
            text(&mut svg, 12.0, y + 10.0, "start", "font-weight=\"bold\"", &group.label);
            y += 18.0;
            for bar in &group.bars {
                bar.draw(&mut svg, y, scale);
                y += STEP;
            }
            y += 16.0;
        }
        svg + "</svg>\n"
    }

    fn legend(&self, svg: &mut String) {
        let mut x = 12.0;
        for (name, colour) in self.legend.iter().zip(COLOURS) {
            rectangle(svg, x, 40.0, 12.0, 12.0, colour);
            text(svg, x + 17.0, 51.0, "start", "", name);
            // About the width of the letters.
            x += 34.0 + 6.6 * name.len() as f64;
        }
    }
}

impl Bar {
    fn length(&self) -> f64 {
        self.segments.iter().map(|segment| segment.max(0.0)).sum()
    }

    fn draw(&self, svg: &mut String, y: f64, scale: f64) {
        text(svg, LEFT - 8.0, y + 13.0, "end", "", &self.label);
        let mut x = LEFT;
        for (segment, colour) in self.segments.iter().zip(COLOURS.iter().cycle().skip(self.tint)) {
            let width = segment.max(0.0) * scale;
            rectangle(svg, x, y, width, BAR, colour);
            x += width;
        }
        text(svg, x + 6.0, y + 13.0, "start", "", &self.text);
    }
}

fn rectangle(svg: &mut String, x: f64, y: f64, width: f64, height: f64, colour: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, more: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {more}>{text}</text>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_width_and_text_is_escaped() {
        let bar = |label: &str, segments: &[f64]| Bar {
            label: label.to_owned(),
            segments: segments.to_vec(),
            tint: 0,
            text: "a<b".to_owned(),
        };
        let group =
            Group { label: "g".to_owned(), bars: vec![bar("one", &[3.0, 1.0]), bar("two", &[1.0, -5.0])] };
        let svg = Chart { title: "t & u".to_owned(), legend: vec!["x", "y"], groups: vec![group] }.svg();
        assert!(svg.contains("t &amp; u") && svg.contains("a&lt;b") && svg.ends_with("</svg>\n"));
        // 520 points are 4 units.
        for width in ["390.0", "130.0", "0.0"] {
            assert!(svg.contains(&format!("width=\"{width}\"")), "{width} in {svg}");
        }
    }
}
