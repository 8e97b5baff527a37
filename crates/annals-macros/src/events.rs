//! The derive for the events of several deciders as one type.

use proc_macro2::TokenStream;
use quote::{ToTokens as _, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{DataEnum, DeriveInput, Error, Fields, Ident, Path, Result, Type, Variant};

use crate::attributes::OnEnum;
use crate::model::{all, place, plain_enum};

/// A variant and the events it holds.
struct Member<'a> {
    ident: &'a Ident,
    ty: &'a Type,
}

pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    let data = match plain_enum(input, "Events") {
        Ok(data) => data,
        Err(error) => return error.into_compile_error(),
    };
    let parsed =
        OnEnum::parse(&input.attrs, "events", false).and_then(|on_enum| Ok((on_enum, members(data)?)));
    match parsed {
        Ok((on_enum, members)) => implementations(&input.ident, &on_enum.core(), &members),
        Err(error) => error.into_compile_error(),
    }
}

fn members(data: &DataEnum) -> Result<Vec<Member<'_>>> {
    if data.variants.is_empty() {
        return Err(Error::new(data.enum_token.span(), "it needs a variant for each type of events"));
    }
    let members = all(data.variants.iter().map(member))?;
    all(members.iter().enumerate().map(|(index, member)| {
        let same = |other: &&Member<'_>| {
            other.ty.to_token_stream().to_string() == member.ty.to_token_stream().to_string()
        };
        match members.iter().take(index).find(same) {
            None => Ok(()),
            Some(first) => {
                Err(Error::new_spanned(member.ty, format!("`{}` holds these events already", first.ident)))
            }
        }
    }))?;
    Ok(members)
}

fn member(variant: &Variant) -> Result<Member<'_>> {
    if let Fields::Unnamed(fields) = &variant.fields
        && let (Some(field), 1) = (fields.unnamed.first(), fields.unnamed.len())
    {
        return Ok(Member { ident: &variant.ident, ty: &field.ty });
    }
    let reason = format!("a variant holds one type of events: {}(account::Event)", variant.ident);
    Err(Error::new(variant.span(), reason))
}

fn implementations(ident: &Ident, core: &Path, members: &[Member<'_>]) -> TokenStream {
    let names = members.iter().map(
        |Member { ty, .. }| quote_spanned!(place(ty)=> __names.extend(<#ty as #core::Events>::names());),
    );
    let reads = members.iter().map(|Member { ident, ty }| {
        quote_spanned! {place(ty)=>
            if let ::core::option::Option::Some(__read) = <#ty as #core::Events>::read(__name, __shape, __payload) {
                return ::core::option::Option::Some(__read.map(Self::#ident));
            }
        }
    });
    let stores = members.iter().map(|Member { ident, ty }| {
        quote_spanned!(place(ty)=> Self::#ident(__events) => <#ty as #core::Events>::store(__events),)
    });
    let froms = members.iter().map(|member| from(ident, member));
    quote! {
        #[automatically_derived]
        impl #core::Events for #ident {
            fn names() -> ::std::vec::Vec<&'static ::core::primitive::str> {
                let mut __names = ::std::vec::Vec::new();
                #(#names)*
                __names
            }

            fn read(
                __name: &::core::primitive::str,
                __shape: ::core::primitive::u32,
                __payload: &[::core::primitive::u8],
            ) -> ::core::option::Option<::core::result::Result<Self, #core::codec::DecodeError>> {
                #(#reads)*
                ::core::option::Option::None
            }

            fn store(
                &self,
            ) -> ::core::result::Result<#core::envelope::EventPart, #core::codec::EncodeError> {
                match self {
                    #(#stores)*
                }
            }
        }
        #(#froms)*
    }
}

fn from(events: &Ident, Member { ident, ty }: &Member<'_>) -> TokenStream {
    quote! {
        #[automatically_derived]
        impl ::core::convert::From<#ty> for #events {
            fn from(__events: #ty) -> Self {
                Self::#ident(__events)
            }
        }
    }
}
