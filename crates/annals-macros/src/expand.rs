//! The implementations for stored enums: `Variants`, and `Event` with `Events`, `Command` or `Refusal`.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{DeriveInput, Path};

use crate::model::{Kind, Model, Tag, Variant, place, plain_enum};

/// The implementations, or the errors as compiler errors beside empty implementations, so that code which uses
/// the type gives no further errors.
pub(crate) fn derive(input: &DeriveInput, kind: Kind) -> TokenStream {
    let data = match plain_enum(input, kind.derive()) {
        Ok(data) => data,
        Err(error) => return error.into_compile_error(),
    };
    match Model::parse(input, data, kind) {
        Ok(model) => implementations(&model, kind),
        Err(error) => {
            let core = crate::attributes::OnEnum::default().core();
            let empty = Model { ident: input.ident.clone(), core, variants: Vec::new() };
            let empty = implementations(&empty, kind);
            let error = error.into_compile_error();
            quote!(#error #empty)
        }
    }
}

fn implementations(model: &Model, kind: Kind) -> TokenStream {
    let (ident, core) = (&model.ident, &model.core);
    let variants = variants(model);
    let own = match kind {
        Kind::Event => event(model),
        Kind::Command => quote!(impl #core::Command for #ident {}),
        Kind::Refusal => quote!(impl #core::Refusal for #ident {}),
    };
    quote! {
        #variants
        #own
    }
}

fn variants(model: &Model) -> TokenStream {
    let Model { ident, core, variants } = model;
    let listed = variants.iter().map(|Variant { name, serde_name, shape, .. }| {
        quote!(#core::codec::Variant { name: #name, serde_name: #serde_name, shape: #shape })
    });
    let upcast = variants.iter().any(|variant| !variant.was.is_empty()).then(|| upcast(model));
    quote! {
        #[automatically_derived]
        impl #core::codec::Variants for #ident {
            const VARIANTS: &'static [#core::codec::Variant] = &[#(#listed),*];
            #upcast
        }
    }
}

fn upcast(model: &Model) -> TokenStream {
    let core = &model.core;
    let arms = model.variants.iter().flat_map(|variant| {
        (1_u32..).zip(&variant.was).enumerate().map(move |(index, (shape, oldest))| {
            let name = &variant.name;
            let chain = chain(variant, index);
            quote_spanned! {place(oldest)=>
                (#name, #shape) => ::core::option::Option::Some(
                    #core::codec::decode_older::<#oldest>(__payload).map(|__value| #chain),
                ),
            }
        })
    });
    quote! {
        fn upcast(
            __variant: &#core::codec::Variant,
            __shape: ::core::primitive::u32,
            __payload: &[::core::primitive::u8],
        ) -> #core::codec::Upcast<Self> {
            match (__variant.name, __shape) {
                #(#arms)*
                _ => ::core::option::Option::None,
            }
        }
    }
}

/// `__value` of the older type `index` through every newer one, up to the enum.
fn chain(variant: &Variant, index: usize) -> TokenStream {
    let types = variant.was.iter().skip(index);
    let own = variant.was.last().map(|newest| quote_spanned!(place(newest)=> Self));
    let targets = types.clone().skip(1).map(ToTokens::to_token_stream).chain(own);
    types.zip(targets).fold(
        quote!(__value),
        |value, (from, to)| quote_spanned!(place(from)=> <#to as ::core::convert::From<#from>>::from(#value)),
    )
}

fn event(model: &Model) -> TokenStream {
    let (ident, core) = (&model.ident, &model.core);
    let tags = model.variants.iter().any(|variant| !variant.tags.is_empty()).then(|| tags(model));
    let events = events(core);
    quote! {
        #[automatically_derived]
        impl #core::Event for #ident {
            #tags
        }
        #[automatically_derived]
        impl #core::Events for #ident {
            #events
        }
    }
}

fn tags(model: &Model) -> TokenStream {
    let arms = model.variants.iter().filter(|variant| !variant.tags.is_empty()).map(|variant| {
        let ident = &variant.ident;
        let bound = variant.tags.iter().enumerate().map(|(index, tag)| {
            let (member, binding) = (&tag.member, format_ident!("__tag_{index}"));
            quote!(#member: #binding)
        });
        let pushes = variant.tags.iter().enumerate().map(|(index, tag)| push(index, tag));
        quote!(Self::#ident { #(#bound,)* .. } => { #(#pushes)* })
    });
    let rest = model.variants.iter().any(|variant| variant.tags.is_empty()).then(|| quote!(_ => {}));
    quote! {
        fn tags(&self) -> ::std::vec::Vec<::std::string::String> {
            let mut __tags = ::std::vec::Vec::new();
            match self {
                #(#arms)*
                #rest
            }
            __tags
        }
    }
}

fn push(index: usize, tag: &Tag) -> TokenStream {
    let (name, binding) = (&tag.name, format_ident!("__tag_{index}"));
    let push = |value| quote_spanned!(place(&tag.ty)=> __tags.push(::std::format!("{}:{}", #name, #value)););
    if tag.several {
        let push = push(quote!(__each));
        quote!(for __each in #binding.iter() { #push })
    } else {
        push(quote!(#binding))
    }
}

fn events(core: &Path) -> TokenStream {
    quote! {
        fn names() -> ::std::vec::Vec<&'static ::core::primitive::str> {
            <Self as #core::codec::Variants>::VARIANTS.iter().map(|variant| variant.name).collect()
        }

        fn read(
            name: &::core::primitive::str,
            shape: ::core::primitive::u32,
            payload: &[::core::primitive::u8],
        ) -> ::core::option::Option<::core::result::Result<Self, #core::codec::DecodeError>> {
            #core::codec::variant::<Self>(name)?;
            ::core::option::Option::Some(#core::codec::decode(name, shape, payload))
        }

        fn store(
            &self,
        ) -> ::core::result::Result<#core::envelope::EventPart, #core::codec::EncodeError> {
            #core::event::encode(self)
        }
    }
}
