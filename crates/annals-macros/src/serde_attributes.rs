//! What serde's attributes say about the names on the wire.
//!
//! Anything that makes the enum serialize as something else than its plain variants is refused here, at its
//! attribute; what serde itself finds wrong is left for serde to report.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, Error, Expr, LitStr, Result, Token, parenthesized};

use crate::names;

/// What an enum's serde attributes say.
#[derive(Default)]
pub(crate) struct OnEnum {
    rename_all: Option<String>,
}

impl OnEnum {
    pub(crate) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        each(attributes, |meta| {
            if meta.path.is_ident("rename_all") {
                found.rename_all = one_name(meta)?.map(|rule| rule.value());
                return Ok(());
            }
            let refused = ["tag", "content", "untagged", "from", "try_from", "into", "transparent", "remote"];
            if let Some(name) = refused.iter().find(|name| meta.path.is_ident(name)) {
                let reason =
                    format!("remove serde's `{name}`: a variant is stored by its name and its fields");
                return Err(Error::new_spanned(&meta.path, reason));
            }
            skip_value(meta)
        })?;
        Ok(found)
    }

    /// The name serde gives to a variant.
    pub(crate) fn variant_name(&self, variant: &str, attributes: &[Attribute]) -> Result<String> {
        let mut renamed = None;
        each(attributes, |meta| {
            if meta.path.is_ident("rename") {
                renamed = one_name(meta)?.map(|name| name.value());
                return Ok(());
            }
            let refused = ["skip", "skip_serializing", "skip_deserializing", "other", "untagged"];
            if let Some(name) = refused.iter().find(|name| meta.path.is_ident(name)) {
                let reason = format!("remove serde's `{name}`: every variant is stored and read back");
                return Err(Error::new_spanned(&meta.path, reason));
            }
            skip_value(meta)
        })?;
        let by_rule = || names::by_serde_rule(self.rename_all.as_deref()?, variant);
        Ok(renamed.or_else(by_rule).unwrap_or_else(|| variant.to_owned()))
    }
}

/// The name `#[serde(rename)]` gives to a field.
pub(crate) fn field_name(attributes: &[Attribute]) -> Result<Option<String>> {
    let mut renamed = None;
    each(attributes, |meta| {
        if meta.path.is_ident("rename") {
            renamed = one_name(meta)?.map(|name| name.value());
            return Ok(());
        }
        skip_value(meta)
    })?;
    Ok(renamed)
}

fn each(attributes: &[Attribute], mut take: impl FnMut(&ParseNestedMeta<'_>) -> Result<()>) -> Result<()> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("serde"))
        .try_for_each(|attribute| attribute.parse_nested_meta(|meta| take(&meta)))
}

/// The name in `rename = "name"` or `rename(serialize = "name", deserialize = "name")`.
fn one_name(meta: &ParseNestedMeta<'_>) -> Result<Option<LitStr>> {
    if meta.input.peek(Token![=]) {
        return meta.value()?.parse().map(Some);
    }
    let mut written: Vec<LitStr> = Vec::new();
    meta.parse_nested_meta(|side| {
        written.push(side.value()?.parse()?);
        Ok(())
    })?;
    match written.as_slice() {
        [write, read] if write.value() == read.value() => Ok(written.pop()),
        _ => Err(Error::new_spanned(
            &meta.path,
            "give one name: what is written is read back by the same name",
        )),
    }
}

/// Passes over the value of an attribute that does not matter here.
fn skip_value(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<Expr>()?;
    } else if meta.input.peek(syn::token::Paren) {
        let inside;
        parenthesized!(inside in meta.input);
        inside.parse::<proc_macro2::TokenStream>()?;
    }
    Ok(())
}
