//! The public API of the libraries, as docs/api/ lists it: one line per item, with its whole
//! signature and the first paragraph of its documentation. `RESOUND_WRITE_API=1` writes the lists
//! anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use syn::{Attribute, Fields, ImplItem, Item, TraitItem, UseTree, Visibility};

const CRATES: [&str; 8] = [
    "resound-proto",
    "resound-faults",
    "resound",
    "resound-load",
    "resound-lab",
    "resound-probe",
    "resound-verdict",
    "resound-console",
];
/// Traits whose impls say nothing about how to use a type.
const UNLISTED: [&str; 2] = ["Drop", "Error"];
/// How to read a list.
const LEGEND: &str = "\
# The public items, one a line, each with the first paragraph of its documentation.
# struct X { }          all fields are public, and a struct literal makes one
# struct X { .. }       has private fields, or may get more (#[non_exhaustive]): functions make one
# enum X { .. }         may get more variants (#[non_exhaustive])
# : Clone + Debug       derived traits; `X: impl T for Y` are the other traits that concern X
# required, provided    methods of a trait without and with a default
# [unix]                only there
";

#[test]
fn the_public_api_is_as_its_lists_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates: Vec<Krate> = CRATES.iter().map(|name| Krate::read(folder, name)).collect();
    for krate in &crates {
        let mut listing = Listing { crates: &crates, lines: Vec::new() };
        listing.module(krate, &[], &krate.ident);
        listing.lines.sort();
        listing.lines.dedup();
        let list = listing.lines.iter().fold(LEGEND.to_string(), |list, (_, line)| list + line + "\n");
        let path = folder.join(format!("docs/api/{}.txt", krate.ident.replace('_', "-")));
        if std::env::var_os("RESOUND_WRITE_API").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &list).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        let lines = |text: &str| text.lines().map(String::from).collect::<Vec<_>>();
        let (old, new) = (lines(&committed), lines(&list));
        let gone: Vec<_> = old.iter().filter(|line| !new.contains(line)).map(|line| format!("- {line}")).collect();
        let added: Vec<_> = new.iter().filter(|line| !old.contains(line)).map(|line| format!("+ {line}")).collect();
        let changes = [gone, added].concat().join("\n");
        assert!(committed == list, "{} differs (RESOUND_WRITE_API=1 rewrites it):\n{changes}", path.display());
    }
}

/// A crate's modules, and all of its impls.
struct Krate {
    ident: String,
    root: Module,
}

#[derive(Default)]
struct Module {
    /// Its `//!` documentation, where it is a file.
    docs: Vec<Attribute>,
    items: Vec<Item>,
    children: BTreeMap<String, Module>,
}

/// What a path leads to.
enum Found<'a> {
    Item(&'a Item),
    Module(&'a Krate, Vec<String>),
}

impl Krate {
    fn read(folder: &Path, name: &str) -> Self {
        let source = folder.join("crates").join(name).join("src");
        Self { ident: name.replace('-', "_"), root: Module::read(&source.join("lib.rs"), &source) }
    }

    fn module(&self, path: &[String]) -> Option<&Module> {
        path.iter().try_fold(&self.root, |module, name| module.children.get(name))
    }

    /// The impls of a type or for it, and the conversions from it; of a trait those for references
    /// and boxes. No two types of the project have one name.
    fn impls<'a>(&'a self, of: &str) -> Vec<&'a syn::ItemImpl> {
        let mut found = Vec::new();
        self.root.visit(&mut |item| {
            let Item::Impl(each) = item else { return };
            let of_trait = each.trait_.as_ref().and_then(|(_, path, _)| path.segments.last());
            let is_from = of_trait.is_some_and(|last| last.ident == "From" && names(&last.arguments, of));
            let is_wrapped = of_trait.is_some_and(|last| last.ident == of) && is_wrapper(&each.self_ty);
            let is_of = match &*each.self_ty {
                syn::Type::Reference(reference) => type_text(&reference.elem) == of,
                own => own_name(own).is_some_and(|name| name == of),
            };
            if is_of || is_from || is_wrapped {
                found.push(each);
            }
        });
        found
    }
}

/// Whether these generic arguments are this type, or a reference to it.
fn names(arguments: &syn::PathArguments, of: &str) -> bool {
    let syn::PathArguments::AngleBracketed(list) = arguments else { return false };
    list.args.iter().any(|argument| match argument {
        syn::GenericArgument::Type(syn::Type::Reference(reference)) => own_name(&reference.elem) == Some(of.into()),
        syn::GenericArgument::Type(own) => own_name(own) == Some(of.into()),
        _ => false,
    })
}

fn own_name(of: &syn::Type) -> Option<String> {
    let syn::Type::Path(path) = of else { return None };
    path.path.segments.last().map(|last| last.ident.to_string())
}

fn is_wrapper(of: &syn::Type) -> bool {
    matches!(of, syn::Type::Reference(_)) || own_name(of).is_some_and(|name| name == "Box")
}

/// The item, or the impls that a macro of the project makes.
fn expanded(item: Item) -> Vec<Item> {
    match &item {
        Item::Macro(call) if call.mac.path.is_ident("forward_io") => {
            let tokens = call.mac.tokens.to_string();
            let (own, _) = tokens.split_once(',').unwrap();
            ["AsyncRead", "AsyncWrite"].map(|of| syn::parse_str(&format!("impl {of} for {own} {{}}")).unwrap()).into()
        }
        _ => vec![item],
    }
}

impl Module {
    fn read(file: &Path, folder: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let file = syn::parse_file(&text).unwrap();
        Self { docs: file.attrs, ..Self::of(file.items, folder) }
    }

    fn of(items: Vec<Item>, folder: &Path) -> Self {
        let mut module = Self::default();
        for item in items.into_iter().flat_map(expanded) {
            let Item::Mod(inner) = &item else {
                module.items.push(item);
                continue;
            };
            let (name, is_test) = (inner.ident.to_string(), has(&inner.attrs, "cfg", "test"));
            if !is_test {
                let below = folder.join(&name);
                let child = match &inner.content {
                    Some((_, items)) => Self::of(items.clone(), &below),
                    None => {
                        let named = attribute_text(&inner.attrs, "path").map(|path| folder.join(path));
                        let files: [PathBuf; 2] = [folder.join(format!("{name}.rs")), below.join("mod.rs")];
                        let files: Vec<_> = named.into_iter().chain(files).collect();
                        let file = files.iter().find(|file| file.exists()).unwrap_or_else(|| panic!("no {files:?}"));
                        Self::read(file, &below)
                    }
                };
                module.children.insert(name, child);
                module.items.push(item);
            }
        }
        module
    }

    fn visit<'a>(&'a self, each: &mut impl FnMut(&'a Item)) {
        self.items.iter().for_each(&mut *each);
        self.children.values().for_each(|child| child.visit(each));
    }
}

struct Listing<'a> {
    crates: &'a [Krate],
    /// Each with the path of its item, to sort by.
    lines: Vec<(String, String)>,
}

impl<'a> Listing<'a> {
    /// The public items of a module, under its public path.
    fn module(&mut self, krate: &'a Krate, at: &[String], path: &str) {
        let Some(module) = krate.module(at) else { return };
        for item in &module.items {
            match item {
                Item::Use(each) if is_public(&each.vis) => {
                    for (leaf, name) in leaves(&each.tree) {
                        self.re_export(krate, at, &leaf, &format!("{path}::{name}"), path, &each.attrs);
                    }
                }
                Item::Mod(inner) if is_public(&inner.vis) => {
                    let name = inner.ident.to_string();
                    let docs = [&inner.attrs[..], &module.children[&name].docs].concat();
                    self.line(&format!("pub mod {path}::{name}"), &docs);
                    self.module(krate, &[at, std::slice::from_ref(&name)].concat(), &format!("{path}::{name}"));
                }
                item if item_name(item).is_some_and(|(vis, _)| is_public(vis)) => self.item(item, path),
                _ => {}
            }
        }
    }

    fn re_export(
        &mut self,
        krate: &'a Krate,
        at: &[String],
        leaf: &[String],
        public: &str,
        parent: &str,
        attrs: &[Attribute],
    ) {
        match self.find(krate, at, leaf) {
            Some(Found::Item(item)) => self.item(item, parent),
            // A glob's name is `*`: its items become the parent's own.
            Some(Found::Module(krate, at)) if public.ends_with("::*") => self.module(krate, &at, parent),
            Some(Found::Module(krate, at)) => {
                let docs = krate.module(&at).map(|module| module.docs.clone()).unwrap_or_default();
                self.line(&format!("pub mod {public}"), &[attrs, &docs].concat());
                self.module(krate, &at, public);
            }
            None => self.line(&format!("pub use {} as {public}", leaf.join("::")), attrs),
        }
    }

    /// What `path`, as written in the module `at`, leads to; `None` for another crate's item.
    fn find(&self, krate: &'a Krate, at: &[String], path: &[String]) -> Option<Found<'a>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(krate, Vec::new(), rest),
            "self" => self.walk(krate, at.to_vec(), rest),
            "super" => self.find(krate, &at[..at.len() - 1], &[&["self".to_string()], rest].concat()),
            name => match self.crates.iter().find(|other| other.ident == name) {
                Some(other) => self.walk(other, Vec::new(), rest),
                None => self.walk(krate, at.to_vec(), path),
            },
        }
    }

    fn walk(&self, krate: &'a Krate, at: Vec<String>, path: &[String]) -> Option<Found<'a>> {
        let module = krate.module(&at)?;
        let Some((name, rest)) = path.split_first().filter(|(name, _)| *name != "*") else {
            return Some(Found::Module(krate, at));
        };
        let child = || module.children.contains_key(name).then(|| [at.clone(), vec![name.clone()]].concat());
        // Of a module and a function with one name, the last segment names the function.
        if let Some(child) = child().filter(|_| !rest.is_empty()) {
            return self.walk(krate, child, rest);
        }
        let own = |item: &&Item| item_name(item).is_some_and(|(_, own)| own == *name);
        if let Some(item) = module.items.iter().find(own) {
            return Some(Found::Item(item));
        }
        let uses = module.items.iter().filter_map(|item| match item {
            Item::Use(each) => Some(leaves(&each.tree)),
            _ => None,
        });
        match (uses.flatten().find(|(leaf, own)| own == name && leaf != path), child()) {
            (Some((leaf, _)), _) => self.find(krate, &at, &[&leaf[..], rest].concat()),
            (None, child) => self.walk(krate, child?, rest),
        }
    }

    /// One item and what belongs to it.
    fn item(&mut self, item: &Item, parent: &str) {
        let Some((_, name)) = item_name(item) else { return };
        let path = format!("{parent}::{name}");
        match item {
            Item::Fn(each) => self.function(&each.sig, &each.attrs, parent, "pub "),
            Item::Const(each) => {
                self.line(&format!("pub const {path}: {}", type_text(&each.ty)), &each.attrs);
            }
            Item::Type(each) => {
                let alias = syn::ItemType { attrs: Vec::new(), ..each.clone() };
                self.line(&renamed(&text(Item::Type(alias)), &name, &path), &each.attrs);
            }
            Item::Struct(each) => {
                let unit = syn::ItemStruct { attrs: Vec::new(), fields: Fields::Unit, ..each.clone() };
                let has_private = each.fields.iter().any(|field| !is_public(&field.vis));
                let tuple = match &each.fields {
                    Fields::Unnamed(_) if !has_private => fields(&each.fields),
                    Fields::Unit => String::new(),
                    _ if has_private || is_open(&each.attrs) => " { .. }".into(),
                    _ => " { }".into(),
                };
                let header = renamed(&text(Item::Struct(unit)), &name, &path) + &tuple;
                self.line(&(header + &derives(&each.attrs)), &each.attrs);
                let named = each.fields.iter().filter(|field| is_public(&field.vis));
                for (field, ident) in named.filter_map(|field| Some((field, field.ident.as_ref()?))) {
                    self.line(&format!("pub {path}::{ident}: {}", type_text(&field.ty)), &field.attrs);
                }
            }
            Item::Enum(each) => {
                let empty = syn::ItemEnum { attrs: Vec::new(), variants: Default::default(), ..each.clone() };
                let open = if is_open(&each.attrs) { " { .. }" } else { "" };
                let header = renamed(&text(Item::Enum(empty)), &name, &path) + open;
                self.line(&(header + &derives(&each.attrs)), &each.attrs);
                for variant in &each.variants {
                    let shape = fields(&variant.fields);
                    self.line(&format!("pub {path}::{}{shape}", variant.ident), &variant.attrs);
                }
            }
            Item::Trait(each) => {
                let empty = syn::ItemTrait { attrs: Vec::new(), items: Vec::new(), ..each.clone() };
                self.line(&renamed(&text(Item::Trait(empty)), &name, &path), &each.attrs);
                for method in each.items.iter().filter_map(|item| match item {
                    TraitItem::Fn(method) => Some(method),
                    _ => None,
                }) {
                    let prefix = if method.default.is_some() { "pub provided " } else { "pub required " };
                    self.function(&method.sig, &method.attrs, &path, prefix);
                }
            }
            _ => {}
        }
        self.impls(&name, &path);
    }

    fn impls(&mut self, name: &str, path: &str) {
        for each in self.crates.iter().flat_map(|krate| krate.impls(name)) {
            if let Some((_, of, _)) = &each.trait_ {
                let of = of.segments.last().unwrap().ident.to_string();
                if !UNLISTED.contains(&of.as_str()) {
                    let empty = syn::ItemImpl { attrs: Vec::new(), items: Vec::new(), ..each.clone() };
                    self.line(&format!("pub {path}: {}", text(Item::Impl(empty))), &[]);
                }
                continue;
            }
            for item in &each.items {
                match item {
                    ImplItem::Fn(method) if is_public(&method.vis) => {
                        self.function(&method.sig, &method.attrs, path, "pub ");
                    }
                    ImplItem::Const(constant) if is_public(&constant.vis) => {
                        let line = format!("pub const {path}::{}: {}", constant.ident, type_text(&constant.ty));
                        self.line(&line, &constant.attrs);
                    }
                    _ => {}
                }
            }
        }
    }

    fn function(&mut self, sig: &syn::Signature, attrs: &[Attribute], parent: &str, prefix: &str) {
        let block = Box::new(syn::parse_str("{}").unwrap());
        let function = syn::ItemFn { attrs: Vec::new(), vis: Visibility::Inherited, sig: sig.clone(), block };
        let name = sig.ident.to_string();
        let line = renamed(&text(Item::Fn(function)), &name, &format!("{parent}::{name}"));
        self.line(&format!("{prefix}{line}"), attrs);
    }

    fn line(&mut self, item: &str, attrs: &[Attribute]) {
        if has(attrs, "doc", "hidden") {
            return;
        }
        let cfg: String = attrs.iter().filter(|each| each.path().is_ident("cfg")).map(condition).collect();
        let docs = first_paragraph(attrs);
        let docs = if docs.is_empty() { docs } else { format!("  // {docs}") };
        let path = item.split([' ', '(', '<']).find(|word| word.starts_with("resound")).unwrap_or_default();
        // After the item itself, and before what belongs to it.
        let path = if item.contains(": impl") { path } else { path.trim_end_matches(':') };
        self.lines.push((path.into(), format!("{item}{cfg}{docs}")));
    }
}

/// ` [unix]` for `#[cfg(unix)]`.
fn condition(cfg: &Attribute) -> String {
    cfg.meta.require_list().map(|list| format!(" [{}]", list.tokens)).unwrap_or_default()
}

fn item_name(item: &Item) -> Option<(&Visibility, String)> {
    Some(match item {
        Item::Const(each) => (&each.vis, each.ident.to_string()),
        Item::Enum(each) => (&each.vis, each.ident.to_string()),
        Item::Fn(each) => (&each.vis, each.sig.ident.to_string()),
        Item::Struct(each) => (&each.vis, each.ident.to_string()),
        Item::Trait(each) => (&each.vis, each.ident.to_string()),
        Item::Type(each) => (&each.vis, each.ident.to_string()),
        _ => return None,
    })
}

fn is_public(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Public(_))
}

fn is_open(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|each| each.path().is_ident("non_exhaustive"))
}

/// Is there an attribute such as `#[cfg(test)]`?
fn has(attrs: &[Attribute], name: &str, argument: &str) -> bool {
    let says = |each: &&Attribute| each.meta.require_list().is_ok_and(|list| list.tokens.to_string() == argument);
    attrs.iter().filter(|each| each.path().is_ident(name)).any(|each| says(&each))
}

/// The paths of a `use`, each with the name that it gets.
fn leaves(tree: &UseTree) -> Vec<(Vec<String>, String)> {
    match tree {
        UseTree::Path(path) => {
            let first = path.ident.to_string();
            let below = leaves(&path.tree).into_iter();
            below
                .map(|(rest, name)| match rest.first().is_some_and(|segment| segment == "self") {
                    true => (vec![first.clone()], if name == "self" { first.clone() } else { name }),
                    false => ([vec![first.clone()], rest].concat(), name),
                })
                .collect()
        }
        UseTree::Name(name) => vec![(vec![name.ident.to_string()], name.ident.to_string())],
        UseTree::Rename(name) => vec![(vec![name.ident.to_string()], name.rename.to_string())],
        UseTree::Glob(_) => vec![(vec!["*".into()], "*".into())],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

/// An item's text on one line, without its body.
fn text(item: Item) -> String {
    let text = prettyplease::unparse(&syn::File { shebang: None, attrs: Vec::new(), items: vec![item] });
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.trim_end_matches([';']).trim_end_matches("{}").trim_end();
    text.replace("( ", "(").replace(", )", ")").replace("< ", "<").replace(", >", ">").replace(" )", ")")
}

fn renamed(text: &str, name: &str, path: &str) -> String {
    let at = text.find(&format!(" {name}")).expect("the item's own name") + 1;
    format!("{}{path}{}", &text[..at], &text[at + name.len()..])
}

fn type_text(ty: &syn::Type) -> String {
    let mut alias: syn::ItemType = syn::parse_str("type T = ();").unwrap();
    alias.ty = Box::new(ty.clone());
    text(Item::Type(alias)).trim_start_matches("type T = ").into()
}

fn fields(fields: &Fields) -> String {
    let types = |field: &syn::Field| match &field.ident {
        Some(ident) => format!("{ident}: {}", type_text(&field.ty)),
        None => type_text(&field.ty),
    };
    let all = fields.iter().map(types).collect::<Vec<_>>().join(", ");
    match fields {
        Fields::Named(_) => format!(" {{ {all} }}"),
        Fields::Unnamed(_) => format!("({all})"),
        Fields::Unit => String::new(),
    }
}

/// The derived traits that matter to a user, as `: Clone + Copy`.
fn derives(attrs: &[Attribute]) -> String {
    let mut all = Vec::new();
    for derive in attrs.iter().filter(|each| each.path().is_ident("derive")) {
        let list = derive.meta.require_list().unwrap().tokens.to_string();
        all.extend(list.split(',').map(|name| name.rsplit("::").next().unwrap().trim().to_string()));
    }
    all.retain(|name| !name.is_empty());
    if all.is_empty() { String::new() } else { format!(": {}", all.join(" + ")) }
}

/// The text of an attribute such as `#[doc = "text"]`.
fn attribute_text(attrs: &[Attribute], name: &str) -> Option<String> {
    let attribute = attrs.iter().find(|each| each.path().is_ident(name))?;
    match &attribute.meta.require_name_value().ok()?.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

fn first_paragraph(attrs: &[Attribute]) -> String {
    let docs = attrs.iter().filter_map(|each| attribute_text(std::slice::from_ref(each), "doc"));
    let paragraph: Vec<String> = docs.map(|line| line.trim().to_string()).take_while(|line| !line.is_empty()).collect();
    paragraph.join(" ")
}
