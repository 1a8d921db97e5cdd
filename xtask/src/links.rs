use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::command::{Result, root, target};

/// How links begin that lead into this repository from elsewhere: from the pages of its crates.
const ELSEWHERE: [&str; 2] = [
    concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/"),
    concat!(env!("CARGO_PKG_REPOSITORY"), "/tree/main/"),
];

/// Follows every link in the repository's Markdown that stays in the repository: the file has to be there,
/// and the heading in it. Links to other places aren't followed; that would need a network.
pub(crate) fn run() -> Result {
    let pages = pages(root())?;
    let mut broken = Vec::new();
    for (path, page) in &pages {
        for link in &page.links {
            if let Err(problem) = follow(link, path, &pages) {
                broken.push(format!("{}:{}: `{}`: {problem}", path.display(), link.line, link.to));
            }
        }
    }
    let links: usize = pages.values().map(|page| page.links.len()).sum();
    eprintln!("{} pages, {links} links, {} of them broken", pages.len(), broken.len());
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
}

/// A Markdown file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    links: Vec<Link>,
    /// The anchors of its headings.
    anchors: HashSet<String>,
}

#[derive(Debug, PartialEq, Eq)]
struct Link {
    to: String,
    line: usize,
}

/// The pages by their paths from the root.
type Pages = BTreeMap<PathBuf, Page>;

fn pages(root: &Path) -> Result<Pages> {
    let mut pages = Pages::new();
    let (mut folders, built) = (vec![root.to_owned()], target());
    while let Some(folder) = folders.pop() {
        let unread = |error| format!("{}: {error}", folder.display());
        for entry in folder.read_dir().map_err(unread)? {
            let path = entry.map_err(unread)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // What tools keep for themselves, and what Cargo builds.
            if name.starts_with('.') || name == "target" || path == built {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let text = fs::read_to_string(&path).map_err(unread)?;
                let from_root = path.strip_prefix(root).unwrap_or(&path).to_owned();
                pages.insert(from_root, Page::of(&text));
            }
        }
    }
    Ok(pages)
}

impl Page {
    fn of(text: &str) -> Self {
        let mut page = Self::default();
        let mut heading: Option<String> = None;
        let mut seen = HashMap::new();
        for (event, at) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = anchor(&heading.take().unwrap_or_default());
                    page.anchors.insert(numbered(anchor, &mut seen));
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    let line = text[..at.start].matches('\n').count() + 1;
                    page.links.push(Link { to: dest_url.into_string(), line });
                }
                Event::Text(words) | Event::Code(words) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&words);
                    }
                }
                _ => {}
            }
        }
        page
    }
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    heading.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

/// The same for the second heading of its name, and so on.
fn numbered(anchor: String, seen: &mut HashMap<String, usize>) -> String {
    let before = seen.entry(anchor.clone()).or_default();
    let number = *before;
    *before += 1;
    if number == 0 { anchor } else { format!("{anchor}-{number}") }
}

fn follow(link: &Link, from: &Path, pages: &Pages) -> Result {
    let (to, anchor) = link.to.split_once('#').unwrap_or((&link.to, ""));
    let inside = ELSEWHERE.iter().find_map(|start| to.strip_prefix(start));
    let path = match inside {
        Some(path) => PathBuf::from(path),
        None if to.contains(':') => return Ok(()),
        None if to.is_empty() => from.to_owned(),
        None => plain(&from.parent().unwrap_or(Path::new("")).join(to))?,
    };
    if !root().join(&path).exists() {
        return Err(format!("there is no {}", path.display()));
    }
    match pages.get(&path) {
        Some(page) if !anchor.is_empty() && !page.anchors.contains(anchor) => {
            Err(format!("no heading of {} has this anchor", path.display()))
        }
        _ => Ok(()),
    }
}

/// The path without `..`.
fn plain(path: &Path) -> Result<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if !plain.pop() => {
                return Err("it leaves the repository".to_owned());
            }
            Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = "# Of `keys`, and more\n\n## Same\n\n## Same\n\n[b](b.md#there)\n";

    fn followed(to: &str) -> Result {
        let pages = Pages::from([
            ("docs/configuration.md".into(), Page::of(GUIDE)),
            ("README.md".into(), Page::of("# Home")),
        ]);
        follow(&Link { to: to.to_owned(), line: 1 }, Path::new("docs/configuration.md"), &pages)
    }

    #[test]
    fn headings_have_the_anchors_that_github_gives_them() {
        let anchors = Page::of(GUIDE).anchors;
        assert_eq!(anchors, ["of-keys-and-more", "same", "same-1"].map(str::to_owned).into());
    }

    #[test]
    fn links_are_found_with_their_lines() {
        let links = Page::of(GUIDE).links;
        assert_eq!(links, [Link { to: "b.md#there".to_owned(), line: 7 }]);
    }

    #[test]
    fn a_link_to_a_file_or_heading_that_is_not_there_is_broken() {
        for broken in
            ["nowhere.md", "../docs/nowhere.md", "#nowhere", "../README.md#nowhere", "../../x"]
        {
            assert!(followed(broken).is_err(), "{broken}");
        }
        let elsewhere = format!("{}docs/nowhere.md", ELSEWHERE[0]);
        assert!(followed(&elsewhere).is_err());
    }

    #[test]
    fn links_that_lead_somewhere_and_links_to_other_places_are_fine() {
        for fine in
            ["#same-1", "../README.md#home", "../xtask", "https://example.com/x", "mailto:a@b"]
        {
            assert_eq!(followed(fine), Ok(()), "{fine}");
        }
        let elsewhere = format!("{}docs/configuration.md#same", ELSEWHERE[0]);
        assert_eq!(followed(&elsewhere), Ok(()));
    }
}
