//! Finds modules of one crate that import each other, straight or in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::arrows::{code, sources_in};

/// The modules of a crate by path (`conn::handshake`; the root is empty), with their code.
struct Modules(BTreeMap<String, String>);

/// One path of a `use` declaration, and whether it is public.
struct Import {
    path: Vec<String>,
    is_public: bool,
}

impl Modules {
    fn of(root: &Path) -> Self {
        let module = |file: &Path| {
            let path = file.strip_prefix(root).unwrap().with_extension("");
            let names: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            match names.last().map(String::as_str) {
                Some("mod" | "lib" | "main") => names[..names.len() - 1].join("::"),
                _ => names.join("::"),
            }
        };
        Self(sources_in(root).iter().map(|file| (module(file), without_strings(&code(file)))).collect())
    }

    /// The module that a path names as seen from `module`, and the first name after it.
    fn resolve(&self, module: &str, path: &[String]) -> Option<(String, Option<String>)> {
        let mut base: Vec<&str> = module.split("::").filter(|part| !part.is_empty()).collect();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => {
                base.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            name => {
                let child = [&base[..], &[name]].concat().join("::");
                self.0.contains_key(&child).then_some(())?;
            }
        }
        while let Some(name) = rest.first() {
            let child = [&base[..], &[name]].concat().join("::");
            if !self.0.contains_key(&child) {
                break;
            }
            base.push(name);
            rest = &rest[1..];
        }
        Some((base.join("::"), rest.first().cloned()))
    }

    /// Which module imports which, followed through re-exports. A re-export of a child is no
    /// import.
    fn edges(&self) -> BTreeMap<String, BTreeSet<String>> {
        let imports: BTreeMap<_, _> = self.0.iter().map(|(module, code)| (module, imports(code))).collect();
        let mut exports: BTreeMap<(String, String), String> = BTreeMap::new();
        for (module, (imports, _)) in &imports {
            for import in imports.iter().filter(|import| import.is_public) {
                if let Some((from, Some(name))) = self.resolve(module, &import.path) {
                    exports.insert(((*module).clone(), name), from);
                }
            }
        }
        let origin = |mut module: String, name: &str| {
            let mut seen = BTreeSet::new();
            while let Some(next) = exports.get(&(module.clone(), name.to_string())) {
                if !seen.insert(module.clone()) {
                    break;
                }
                module = next.clone();
            }
            module
        };
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (module, (imports, rest)) in &imports {
            let inline = inline_paths(rest).into_iter().map(|path| Import { path, is_public: false });
            for import in inline.chain(imports.iter().map(|import| Import { path: import.path.clone(), ..*import })) {
                let Some((found, name)) = self.resolve(module, &import.path) else { continue };
                let target = name.as_ref().map_or(found.clone(), |name| origin(found.clone(), name));
                let is_child = module.is_empty() || target.starts_with(&format!("{module}::"));
                if target != **module && !(import.is_public && name.is_some() && is_child) {
                    edges.entry((*module).clone()).or_default().insert(target);
                }
            }
        }
        edges
    }
}

/// The groups of modules that reach each other.
pub(crate) fn cycles(root: &Path) -> Vec<BTreeSet<String>> {
    let edges = Modules::of(root).edges();
    let reaches = |from: &String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = open.pop() {
            for next in edges.get(&module).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<_, _> = edges.keys().map(|module| (module.clone(), reaches(module))).collect();
    let mut found: Vec<BTreeSet<String>> = Vec::new();
    for (module, reach) in reached.iter().filter(|(module, reach)| reach.contains(*module)) {
        if !found.iter().any(|group| group.contains(module)) {
            let back = |other: &&String| reached.get(*other).is_some_and(|back| back.contains(module));
            found.push(reach.iter().filter(back).cloned().collect());
        }
    }
    found
}

/// The code with empty string literals.
fn without_strings(code: &str) -> String {
    let (mut out, mut rest) = (String::new(), code);
    while let Some(start) = rest.find('"') {
        out.push_str(&rest[..start]);
        let is_char = rest[..start].ends_with('\'') && rest[start + 1..].starts_with('\'');
        let body = &rest[start + 1..];
        let mut is_escaped = false;
        let end = body.char_indices().find(|&(_, c)| {
            let is_end = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            is_end
        });
        rest = if is_char { body } else { &body[end.map_or(body.len(), |(at, _)| at + 1)..] };
    }
    out + rest
}

/// The `use` declarations of some code, and the code without them.
fn imports(code: &str) -> (Vec<Import>, String) {
    let (mut found, mut rest) = (Vec::new(), String::new());
    for declaration in code.split_inclusive(';') {
        let at = declaration.rfind("use ").filter(|&at| {
            let before = declaration[..at].rsplit('\n').next().unwrap_or_default().trim();
            before.is_empty() || before.starts_with("pub") && !before.contains(['{', '=', '"'])
        });
        let Some(at) = at else {
            rest += declaration;
            continue;
        };
        let is_public = declaration[..at].rsplit('\n').next().unwrap_or_default().contains("pub");
        let tree = declaration[at + 4..].trim_end_matches(';').trim();
        expand(&[], tree, &mut |path| found.push(Import { path, is_public }));
        rest += &declaration[..at];
    }
    (found, rest)
}

/// Each path of a tree such as `a::{b, c::{d, e as f}}`.
fn expand(prefix: &[String], tree: &str, found: &mut dyn FnMut(Vec<String>)) {
    let (mut depth, mut start) = (0, 0);
    let mut parts = Vec::new();
    for (at, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&tree[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tree[start..]);
    for part in parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()) {
        let names = |text: &str| -> Vec<String> {
            text.split("::").map(|name| name.trim().to_string()).filter(|name| !name.is_empty()).collect()
        };
        match (part.find('{'), part.rfind('}')) {
            (Some(open), Some(close)) => {
                expand(&[prefix, &names(&part[..open])].concat(), &part[open + 1..close], found);
            }
            _ => found([prefix, &names(part.split(" as ").next().unwrap_or(part))].concat()),
        }
    }
}

/// The paths that code uses where they stand: `crate::a::b`, `super::c`, `child::d`.
fn inline_paths(code: &str) -> Vec<Vec<String>> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("::") {
        let start = rest[..at].rfind(|c: char| !is_name(c)).map_or(0, |before| before + 1);
        let end = rest[at..].find(|c: char| !is_name(c) && c != ':').map_or(rest.len(), |end| at + end);
        let path: Vec<_> = rest[start..end].split("::").map(str::to_string).filter(|name| !name.is_empty()).collect();
        let is_module = |name: &String| name.chars().all(|c| c.is_lowercase() || c == '_' || c.is_numeric());
        if path.len() > 1 && is_module(&path[0]) && !rest[..start].ends_with(['<', '$']) {
            found.push(path);
        }
        rest = &rest[end.max(at + 2)..];
    }
    found
}

#[test]
fn modules_that_import_each_other_are_found() {
    let mut found = Vec::new();
    expand(&[], "super::{a, b::{self, C as D}, e::f}", &mut |path| found.push(path.join("::")));
    assert_eq!(found, ["super::a", "super::b::self", "super::b::C", "super::e::f"]);
    let modules = |list: &[(&str, &str)]| {
        Modules(list.iter().map(|(name, code)| ((*name).to_string(), (*code).to_string())).collect())
    };
    let edges = modules(&[
        ("", "mod a;\nmod b;\npub use a::A;\n"),
        ("a", "use crate::b::B;\nstruct A;\n"),
        ("b", "fn b() { crate::A; }\nstruct B;\n"),
    ])
    .edges();
    let names = |module: &str| edges.get(module).into_iter().flatten().cloned().collect::<Vec<_>>();
    assert_eq!((names("a"), names("b"), names("")), (vec!["b".into()], vec!["a".into()], vec![]));
}
