//! From one layout to another.

use enforcer_common::abi::layout::{Field as Own, MAPS};
use proptest::prelude::*;

use super::*;

const fn own(name: &'static str, offset: u16, size: u16, element: u16) -> Own {
    Own { name, offset, size, element, optional: false }
}

/// `id: u32, port: u16, address: [u8; 4], label: u32` with two bytes of padding.
const FIELDS: [Own; 4] = [
    own("id", 0, 4, 4),
    own("port", 4, 2, 2),
    own("address", 8, 4, 1),
    Own { optional: true, ..own("label", 12, 4, 4) },
];
const NOW: Layout = Layout { size: 16, fields: &FIELDS };
const BYTES: [u8; 16] = [1, 0, 0, 0, 0x90, 0x1f, 0, 0, 10, 7, 0, 9, 5, 6, 0, 0];

fn field(name: &str, offset: u16, size: u16, element: u16) -> Field {
    Field { name: name.to_owned(), offset, size, element }
}

fn without(name: &str) -> Described {
    let mut described = Described::from(&NOW);
    described.fields.retain(|field| field.name != name);
    described
}

#[test]
fn f10_the_same_layout_keeps_every_field() {
    let conversion = Conversion::new(&Described::from(&NOW), &NOW).expect("compatible");
    assert_eq!(conversion.convert(&BYTES).expect("fits"), BYTES);
    assert_eq!(conversion.convert(&BYTES[1..]), None, "bytes of another type");
}

#[test]
fn f10_fields_are_found_by_name_wherever_they_are_and_what_is_gone_is_left_out() {
    let other = Described {
        size: 24,
        fields: vec![
            field("gone", 0, 8, 8),
            field("address", 8, 4, 1),
            field("label", 12, 1, 1),
            field("port", 16, 4, 4),
            field("id", 20, 4, 4),
        ],
    };
    let from = [
        &[0xff; 8][..],
        &[10, 7, 0, 9],
        &[5, 0xee, 0xee, 0xee],
        &[0x90, 0x1f, 0, 0],
        &[1, 0, 0, 0],
    ]
    .concat();
    let mut expected = BYTES;
    expected[13] = 0;
    let conversion = Conversion::new(&other, &NOW).expect("compatible");
    assert_eq!(conversion.convert(&from).expect("fits"), expected);
}

#[test]
fn f10_a_number_that_does_not_fit_is_not_cut_short() {
    let mut other = Described::from(&NOW);
    other.fields[1] = field("port", 4, 4, 4);
    let conversion = Conversion::new(&other, &NOW).expect("compatible");
    assert!(conversion.convert(&BYTES).is_some());
    let mut large = BYTES;
    large[6] = 1;
    assert_eq!(conversion.convert(&large), None);
}

#[test]
fn f10_only_an_optional_field_may_be_missing() {
    let conversion = Conversion::new(&without("label"), &NOW).expect("compatible");
    assert_eq!(conversion.convert(&BYTES).expect("fits")[12..], [0; 4]);
    for name in ["id", "port", "address"] {
        assert_eq!(Conversion::new(&without(name), &NOW), Err(Incompatible::Missing(name)));
    }
}

#[test]
fn f10_what_has_another_shape_or_lies_outside_is_refused() {
    let cases = [
        (2, field("address", 8, 16, 1), Incompatible::Shape("address")),
        (2, field("address", 8, 4, 2), Incompatible::Shape("address")),
        (2, field("address", 8, 4, 4), Incompatible::Shape("address")),
        (2, field("address", 13, 4, 1), Incompatible::Outside("address")),
        (0, field("id", u16::MAX, 4, 4), Incompatible::Outside("id")),
        (0, field("id", 0, 16, 16), Incompatible::Outside("id")),
    ];
    for (index, field, error) in cases {
        let mut other = Described::from(&NOW);
        other.fields[index] = field;
        assert_eq!(Conversion::new(&other, &NOW), Err(error));
    }
}

#[test]
fn f10_every_map_of_this_layout_is_carried_over_to_itself() {
    for map in MAPS {
        for layout in [map.key, map.value] {
            let described = Described::from(&layout);
            let conversion = Conversion::new(&described, &layout).expect(map.name);
            let bytes: Vec<u8> = (1..=255).cycle().take(layout.size.into()).collect();
            let there = conversion.convert(&bytes).expect(map.name);
            for field in layout.fields {
                let range = usize::from(field.offset)..usize::from(field.offset + field.size);
                assert_eq!(there[range.clone()], bytes[range], "{} {}", map.name, field.name);
            }
        }
    }
}

/// The same fields in another order, with gaps and wider integers.
fn shuffled() -> impl Strategy<Value = Described> {
    (Just(FIELDS.to_vec()).prop_shuffle(), prop::collection::vec((0_u16..5, 0_u32..3), 4)).prop_map(
        |(fields, spread)| {
            let mut size = 0;
            let fields = fields.iter().zip(spread).map(|(own, (gap, wider))| {
                let factor = 1 << if own.element == own.size { wider } else { 0 };
                let length = (own.size * factor).min(if own.element == own.size { 8 } else { 4 });
                let element = if own.element == own.size { length } else { own.element };
                let field = field(own.name, size + gap, length, element);
                size += gap + length;
                field
            });
            let fields = fields.collect();
            Described { size, fields }
        },
    )
}

proptest! {
    #[test]
    fn f10_there_and_back_is_the_same(other in shuffled(), bytes in any::<[u8; 16]>()) {
        // The way there: this layout described, the other one as the target.
        let leaked: Vec<Own> = other.fields.iter().map(|field| Own {
            name: FIELDS.iter().find(|own| own.name == field.name).map_or("", |own| own.name),
            offset: field.offset,
            size: field.size,
            element: field.element,
            optional: false,
        }).collect();
        let target = Layout { size: other.size, fields: leaked.leak() };
        let there = Conversion::new(&Described::from(&NOW), &target).expect("compatible");
        let back = Conversion::new(&other, &NOW).expect("compatible");
        let mut expected = bytes;
        // Padding is not carried.
        expected[6..8].fill(0);
        let carried = there.convert(&bytes).expect("wider or equal");
        prop_assert_eq!(back.convert(&carried).expect("fits again"), expected);
    }

    #[test]
    fn f10_no_description_and_no_bytes_do_harm(
        fields in prop::collection::vec((0..5_usize, any::<u16>(), any::<u16>(), any::<u16>()), 0..8),
        size in 0..64_u16,
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let names = ["id", "port", "address", "label", "other"];
        let fields = fields.into_iter().map(|(name, offset, size, element)| {
            field(names[name], offset, size, element)
        }).collect();
        if let Ok(conversion) = Conversion::new(&Described { size, fields }, &NOW) {
            let converted = conversion.convert(&bytes);
            prop_assert!(converted.is_none_or(|converted| converted.len() == 16));
        }
    }
}
