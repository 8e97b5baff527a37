//! Annals' own attributes: `#[event(..)]`, `#[command(..)]`, `#[refusal(..)]` and `#[events(..)]`.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, LitInt, LitStr, Path, Result, Token, Type, parenthesized};

use crate::model::Kind;
use crate::names;

/// What stands on an enum.
#[derive(Default)]
pub(crate) struct OnEnum {
    /// What its events' stored names begin with.
    pub(crate) prefix: Option<LitStr>,
    /// Where the items of `annals-core` are.
    pub(crate) core: Option<Path>,
}

impl OnEnum {
    /// Reads the attributes called `attribute`; only events have a prefix.
    pub(crate) fn parse(attributes: &[Attribute], attribute: &str, has_prefix: bool) -> Result<Self> {
        let mut found = Self::default();
        each(attributes, attribute, |meta| {
            if has_prefix && meta.path.is_ident("prefix") {
                let prefix: LitStr = meta.value()?.parse()?;
                names::check(Kind::Event, "prefix", &prefix.value(), prefix.span())?;
                return once(&mut found.prefix, prefix, meta);
            }
            if meta.path.is_ident("crate") {
                let core: LitStr = meta.value()?.parse()?;
                return once(&mut found.core, core.parse()?, meta);
            }
            let known = if has_prefix { "`prefix` and `crate`" } else { "`crate`" };
            Err(unknown(meta, &format!("an enum takes {known}")))
        })?;
        Ok(found)
    }

    /// The path of `annals-core`'s items.
    pub(crate) fn core(&self) -> Path {
        self.core.clone().unwrap_or_else(|| syn::parse_quote!(::annals::__private))
    }
}

/// What stands on a variant.
#[derive(Default)]
pub(crate) struct OnVariant {
    /// Its stored name.
    pub(crate) name: Option<LitStr>,
    shape: Option<(u32, Span)>,
    was: Option<(Vec<Older>, Span)>,
}

/// One of the listed older shapes.
struct Older {
    shape: u32,
    span: Span,
    ty: Type,
}

impl OnVariant {
    pub(crate) fn parse(attributes: &[Attribute], kind: Kind) -> Result<Self> {
        let mut found = Self::default();
        each(attributes, kind.attribute(), |meta| {
            if meta.path.is_ident("name") {
                let name: LitStr = meta.value()?.parse()?;
                names::check(kind, "stored name", &name.value(), name.span())?;
                return once(&mut found.name, name, meta);
            }
            if meta.path.is_ident("shape") {
                let shape = shape(&meta.value()?.parse()?)?;
                return once(&mut found.shape, shape, meta);
            }
            if meta.path.is_ident("was") {
                let was = (was(meta)?, span(meta));
                return once(&mut found.was, was, meta);
            }
            Err(unknown(meta, "a variant takes `name`, `shape` and `was`"))
        })?;
        Ok(found)
    }

    /// The variant's shape and the types of its older shapes, 1 first.
    pub(crate) fn shapes(self) -> Result<(u32, Vec<Type>)> {
        match (self.shape, self.was) {
            (None, None) | (Some((1, _)), None) => Ok((1, Vec::new())),
            (None, Some((_, span))) => {
                Err(Error::new(span, "`was` needs `shape`: say which shape the variant has now"))
            }
            (Some((shape, span)), None) => Err(Error::new(span, listing(shape))),
            (Some((shape, span)), Some((was, _))) => Ok((shape, without_gap(was, shape, span)?)),
        }
    }
}

/// The types of shapes 1, 2 .. below `shape`; an error where one is missing, given twice, or not older.
fn without_gap(mut was: Vec<Older>, shape: u32, shape_span: Span) -> Result<Vec<Type>> {
    was.sort_by_key(|older| older.shape);
    let mut expected = 1;
    for older in &was {
        let reason = if older.shape >= shape {
            format!("`was` lists shapes below {shape}, the one it has now")
        } else if older.shape < expected {
            format!("shape {} is listed twice", older.shape)
        } else if older.shape > expected {
            missing(expected, shape)
        } else {
            expected += 1;
            continue;
        };
        return Err(Error::new(older.span, reason));
    }
    if expected < shape {
        return Err(Error::new(shape_span, missing(expected, shape)));
    }
    Ok(was.into_iter().map(|older| older.ty).collect())
}

fn listing(shape: u32) -> String {
    let example = match shape {
        2 => "1 = OldType".to_owned(),
        _ => format!("1 = OldType, .. {} = NewerType", shape - 1),
    };
    format!(
        "`shape = {shape}` needs `was({example})`: a type for each older shape, so that old data can be read"
    )
}

fn missing(older: u32, shape: u32) -> String {
    format!("`was` has no type for shape {older}: list every shape below {shape}")
}

/// What stands on an event's field: whether it is a tag, and under which name.
pub(crate) fn tag(attributes: &[Attribute], kind: Kind) -> Result<Option<(Option<LitStr>, Span)>> {
    let mut found = None;
    each(attributes, kind.attribute(), |meta| {
        if kind != Kind::Event {
            return Err(Error::new(
                span(meta),
                format!("a field takes no #[{}] attribute", kind.attribute()),
            ));
        }
        if !meta.path.is_ident("tag") {
            return Err(unknown(meta, "a field takes `tag`"));
        }
        let name = if meta.input.peek(Token![=]) { Some(meta.value()?.parse::<LitStr>()?) } else { None };
        if let Some(name) = &name {
            names::check(Kind::Command, "tag", &name.value(), name.span())?;
        }
        once(&mut found, (name, span(meta)), meta)
    })?;
    Ok(found)
}

fn each(
    attributes: &[Attribute],
    name: &str,
    mut take: impl FnMut(&ParseNestedMeta<'_>) -> Result<()>,
) -> Result<()> {
    attributes.iter().filter(|attribute| attribute.path().is_ident(name)).try_for_each(|attribute| {
        match attribute.meta.require_list() {
            Ok(list) => list.parse_nested_meta(|meta| take(&meta)),
            Err(_) => Err(Error::new_spanned(attribute, format!("write it as #[{name}(..)]"))),
        }
    })
}

fn once<T>(slot: &mut Option<T>, value: T, meta: &ParseNestedMeta<'_>) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(Error::new(span(meta), "it is given twice"));
    }
    Ok(())
}

fn unknown(meta: &ParseNestedMeta<'_>, known: &str) -> Error {
    let name =
        meta.path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>().join("::");
    Error::new(span(meta), format!("`{name}` is not known here: {known}"))
}

fn span(meta: &ParseNestedMeta<'_>) -> Span {
    syn::spanned::Spanned::span(&meta.path)
}

fn shape(number: &LitInt) -> Result<(u32, Span)> {
    match number.base10_parse::<u32>() {
        Ok(shape) if shape > 0 => Ok((shape, number.span())),
        _ => Err(Error::new(number.span(), "a shape is a whole number from 1")),
    }
}

/// The list in `was(1 = A, 2 = B)`.
fn was(meta: &ParseNestedMeta<'_>) -> Result<Vec<Older>> {
    if !meta.input.peek(syn::token::Paren) {
        return Err(Error::new(span(meta), "write it as was(1 = OldType)"));
    }
    let inside;
    parenthesized!(inside in meta.input);
    let mut listed = Vec::new();
    while !inside.is_empty() {
        let (shape, span) = shape(&inside.parse()?)?;
        inside.parse::<Token![=]>()?;
        listed.push(Older { shape, span, ty: inside.parse()? });
        if !inside.is_empty() {
            inside.parse::<Token![,]>()?;
        }
    }
    Ok(listed)
}
