//! Line charts, as SVG.

use std::path::Path;

use plotters::prelude::*;

/// A chart of a few lines over one axis.
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) across: String,
    pub(crate) up: String,
    pub(crate) lines: Vec<Line>,
}

/// A named line.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (720, 400);
const COLOURS: [RGBColor; 4] =
    [RGBColor(20, 90, 180), RGBColor(200, 80, 20), RGBColor(40, 140, 70), RGBColor(120, 60, 150)];
/// Room between the greatest value and the border.
const HEADROOM: f64 = 1.1;

impl Chart {
    /// Draws it; both axes begin at 0, so that a straight line through the corner is a cost in proportion.
    ///
    /// # Errors
    /// What the file system or the drawing said.
    pub(crate) fn draw(&self, file: &Path) -> Result<(), String> {
        file.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(|error| error.to_string())?;
        let area = SVGBackend::new(file, SIZE).into_drawing_area();
        self.draw_on(&area).and_then(|()| area.present()).map_err(|error| error.to_string())?;
        println!("  written: {}", file.display());
        Ok(())
    }

    fn draw_on<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, plotters::coord::Shift>,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        area.fill(&WHITE)?;
        let greatest = |value: fn(&(f64, f64)) -> f64| {
            let values = self.lines.iter().flat_map(|line| &line.points).map(value);
            values.fold(f64::MIN_POSITIVE, f64::max) * HEADROOM
        };
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 24))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(58)
            .build_cartesian_2d(0.0..greatest(|point| point.0), 0.0..greatest(|point| point.1))?;
        chart
            .configure_mesh()
            .axis_desc_style(("sans-serif", 16))
            .label_style(("sans-serif", 15))
            .x_desc(&self.across)
            .y_desc(&self.up)
            .x_label_formatter(&|value| short(*value))
            .y_label_formatter(&|value| short(*value))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let style = colour.stroke_width(2);
            let drawn =
                chart.draw_series(LineSeries::new(line.points.iter().copied(), style).point_size(3))?;
            drawn.label(&line.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        chart
            .configure_series_labels()
            .label_font(("sans-serif", 16))
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .draw()
    }
}

/// `2500000` as `2.5M`.
fn short(value: f64) -> String {
    let (scaled, unit) = match value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e4 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let text = format!("{scaled:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_axes_are_short() {
        assert_eq!([0.0, 0.25, 100.0, 50_000.0, 2.5e6].map(short), ["0", "0.25", "100", "50k", "2.5M"]);
    }

    #[test]
    fn a_chart_has_its_lines_and_their_names() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pictures/rows.svg");
        let line = Line { name: "milestream".into(), points: vec![(1.0, 2.0), (2.0, 4.0)] };
        let chart =
            Chart { title: "Seed".into(), across: "rows".into(), up: "seconds".into(), lines: vec![line] };
        chart.draw(&file).unwrap();
        let svg = std::fs::read_to_string(file).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("milestream") && svg.contains("<polyline"), "{svg}");
    }
}
