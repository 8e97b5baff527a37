//! An enum whose variants are stored, as the derives understand it.

use std::collections::BTreeMap;

use proc_macro2::Span;
use syn::ext::IdentExt as _;
use syn::spanned::Spanned;
use syn::{Data, DataEnum, DeriveInput, Error, Field, Ident, Index, Member, Path, Result, Type};

use crate::{attributes, names, serde_attributes};

/// Which of the three derives for stored enums.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Event,
    Command,
    Refusal,
}

impl Kind {
    /// What its attribute is called.
    pub(crate) fn attribute(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Command => "command",
            Self::Refusal => "refusal",
        }
    }

    /// What the derive and its trait are called.
    pub(crate) fn derive(self) -> &'static str {
        match self {
            Self::Event => "Event",
            Self::Command => "Command",
            Self::Refusal => "Refusal",
        }
    }
}

/// An enum and where the traits are.
pub(crate) struct Model {
    pub(crate) ident: Ident,
    pub(crate) core: Path,
    pub(crate) variants: Vec<Variant>,
}

/// One variant and how it is stored.
pub(crate) struct Variant {
    pub(crate) ident: Ident,
    pub(crate) name: String,
    pub(crate) serde_name: String,
    pub(crate) shape: u32,
    /// The types of shapes 1, 2 .. below `shape`.
    pub(crate) was: Vec<Type>,
    pub(crate) tags: Vec<Tag>,
}

/// A field by which an event can be found.
pub(crate) struct Tag {
    pub(crate) member: Member,
    pub(crate) name: String,
    /// It holds none, one or several values: an `Option` or a `Vec`.
    pub(crate) several: bool,
    pub(crate) ty: Type,
}

/// The enum behind a derive; an error where it is none, or is generic.
pub(crate) fn plain_enum<'a>(input: &'a DeriveInput, derive: &str) -> Result<&'a DataEnum> {
    let reason = match &input.data {
        Data::Enum(data) if input.generics.params.is_empty() => return Ok(data),
        Data::Enum(_) => "cannot be generic: what is stored has one type for ever",
        Data::Struct(_) | Data::Union(_) => "must be an enum, with one variant for each case",
    };
    Err(Error::new_spanned(&input.ident, format!("a type that derives {derive} {reason}")))
}

impl Model {
    pub(crate) fn parse(input: &DeriveInput, data: &DataEnum, kind: Kind) -> Result<Self> {
        let on_enum = attributes::OnEnum::parse(&input.attrs, kind.attribute(), kind == Kind::Event)?;
        let core = on_enum.core();
        let prefix = match on_enum.prefix {
            None if kind == Kind::Event => {
                let reason = "an event needs a prefix for its stored names: #[event(prefix = \"account\")]";
                return Err(Error::new_spanned(&input.ident, reason));
            }
            prefix => prefix.map(|prefix| prefix.value()).unwrap_or_default(),
        };
        let serde = serde_attributes::OnEnum::parse(&input.attrs)?;
        let variants = data.variants.iter().map(|variant| Variant::parse(variant, kind, &prefix, &serde));
        let variants = all(variants)?;
        check_unique(&variants, data)?;
        Ok(Self { ident: input.ident.clone(), core, variants })
    }
}

impl Variant {
    fn parse(
        variant: &syn::Variant,
        kind: Kind,
        prefix: &str,
        serde: &serde_attributes::OnEnum,
    ) -> Result<Self> {
        let in_rust = variant.ident.unraw().to_string();
        let attributes = attributes::OnVariant::parse(&variant.attrs, kind)?;
        let name = match &attributes.name {
            Some(name) => name.value(),
            None => {
                let name = names::stored(kind, prefix, &in_rust);
                names::check(kind, "stored name", &name, variant.ident.span()).map_err(|error| {
                    let attribute = kind.attribute();
                    Error::new(error.span(), format!("{error}; give it one: #[{attribute}(name = \"..\")]"))
                })?;
                name
            }
        };
        let (shape, was) = attributes.shapes()?;
        let tags = variant.fields.iter().enumerate().map(|(index, field)| Tag::parse(index, field, kind));
        Ok(Self {
            ident: variant.ident.clone(),
            name,
            serde_name: serde.variant_name(&in_rust, &variant.attrs)?,
            shape,
            was,
            tags: all(tags)?.into_iter().flatten().collect(),
        })
    }
}

impl Tag {
    fn parse(index: usize, field: &Field, kind: Kind) -> Result<Option<Self>> {
        let Some((name, span)) = attributes::tag(&field.attrs, kind)? else { return Ok(None) };
        let (member, in_rust) = match &field.ident {
            Some(ident) => (Member::Named(ident.clone()), Some(ident.unraw().to_string())),
            None => (Member::Unnamed(Index::from(index)), None),
        };
        let named = name.map(|name| name.value());
        let renamed = serde_attributes::field_name(&field.attrs)?;
        let Some(name) = named.or(renamed).or(in_rust) else {
            return Err(Error::new(span, "a field without a name needs one for its tag: tag = \"transfer\""));
        };
        Ok(Some(Self { member, name, several: holds_several(&field.ty), ty: field.ty.clone() }))
    }
}

fn holds_several(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|last| last.ident == "Option" || last.ident == "Vec")
}

fn check_unique(variants: &[Variant], data: &DataEnum) -> Result<()> {
    let mut first: BTreeMap<&str, &Ident> = BTreeMap::new();
    all(variants.iter().zip(&data.variants).map(|(variant, written)| {
        match first.insert(&variant.name, &variant.ident) {
            None => Ok(()),
            Some(other) => {
                let reason = format!("{:?} is the stored name of `{other}` already", variant.name);
                Err(Error::new(written.ident.span(), reason))
            }
        }
    }))
    .map(|_: Vec<()>| ())
}

/// All values, or all errors as one.
pub(crate) fn all<T>(results: impl Iterator<Item = Result<T>>) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let mut errors: Option<Error> = None;
    for result in results {
        match (result, &mut errors) {
            (Ok(value), _) => values.push(value),
            (Err(error), None) => errors = Some(error),
            (Err(error), Some(errors)) => errors.combine(error),
        }
    }
    errors.map_or(Ok(values), Err)
}

/// The place of `tokens` for compiler errors about generated code that belongs there.
///
/// Names resolve as everywhere in the generated code, also where `tokens` come out of a `macro_rules` macro.
pub(crate) fn place(tokens: &impl Spanned) -> Span {
    tokens.span().resolved_at(Span::call_site())
}
