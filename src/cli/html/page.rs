//! A page that is one file: its head, its style in both themes and on paper, tables, text.

pub use minilote::plot::escape;

const STYLE: &str = include_str!("style.css");

/// What tells our pages from others, near their beginning.
pub const MARK: &str = "<meta name=\"generator\" content=\"minilote\" />";

/// A whole page. Its policy forbids all requests and scripts.
pub fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n{MARK}\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\" />\n\
         <title>{title}</title>\n<style>\n{}{STYLE}</style>\n</head>\n\
         <body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n",
        minilote::plot::STYLE
    )
}

/// A cell of a table, as HTML.
#[derive(Clone)]
pub struct Cell {
    html: String,
    attributes: String,
}

impl Cell {
    /// A number, or any text that ends where the column does.
    pub fn new(text: impl AsRef<str>) -> Cell {
        Cell { html: escape(text.as_ref()), attributes: String::new() }
    }

    /// A text that begins where the column does.
    pub fn text(text: impl AsRef<str>) -> Cell {
        Cell { attributes: " class=\"text\"".into(), ..Cell::new(text) }
    }

    /// A text that stands out.
    pub fn strong(text: impl AsRef<str>) -> Cell {
        Cell { html: format!("<strong>{}</strong>", escape(text.as_ref())), attributes: String::new() }
    }

    /// A bar of a share, from 0 to 1, of the column's width.
    pub fn bar(share: f64) -> Cell {
        let html = format!("<span class=\"meter\" style=\"width: {:.1}%\"></span>", 100.0 * share);
        Cell { html, attributes: " class=\"bars\"".into() }
    }

    /// A count that is shaded by its share, from 0 to 1, of its row's.
    pub fn share(count: usize, share: f64) -> Cell {
        let attributes = format!(" class=\"share\" style=\"--share:{share:.3}\"");
        Cell { attributes, ..Cell::new(count.to_string()) }
    }
}

/// A table that scrolls by itself where the page is narrower. The first cell of each row heads it.
pub fn table(head: &[Cell], rows: &[Vec<Cell>]) -> String {
    let cell = |tag: &str, scope: &str, Cell { html, attributes }: &Cell| {
        format!("<{tag}{scope}{attributes}>{html}</{tag}>")
    };
    let head: String = head.iter().map(|only| cell("th", " scope=\"col\"", only)).collect();
    let row = |cells: &Vec<Cell>| {
        let heads = cells.iter().take(1).map(|first| cell("th", " scope=\"row\"", first));
        let html: String = heads.chain(cells.iter().skip(1).map(|other| cell("td", "", other))).collect();
        format!("<tr>{html}</tr>\n")
    };
    let rows: String = rows.iter().map(row).collect();
    format!(
        "<div class=\"scroll\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

/// A table of names and what they are, in words.
pub fn words(rows: &[(&str, String)]) -> String {
    let row = |(name, text): &(&str, String)| {
        format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape(name), escape(text))
    };
    format!(
        "<table class=\"words\">\n<tbody>\n{}</tbody>\n</table>\n",
        rows.iter().map(row).collect::<String>()
    )
}

pub fn heading(text: &str) -> String {
    format!("<h2>{}</h2>\n", escape(text))
}

pub fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", escape(text))
}
