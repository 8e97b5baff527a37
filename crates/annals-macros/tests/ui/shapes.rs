use annals::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Old;

#[derive(Event, Serialize, Deserialize, JsonSchema, Clone)]
#[event(prefix = "account")]
enum Shapes {
    #[event(shape = 2)]
    ShapeWithoutWas,
    #[event(shape = 3)]
    LaterShapeWithoutWas,
    #[event(was(1 = Old))]
    WasWithoutShape,
    #[event(shape = 3, was(2 = Old))]
    GapAtTheBottom,
    #[event(shape = 4, was(1 = Old, 3 = Old))]
    GapInside,
    #[event(shape = 3, was(1 = Old))]
    GapAtTheTop,
    #[event(shape = 2, was(1 = Old, 2 = Old))]
    PresentShape,
    #[event(shape = 2, was(1 = Old, 1 = Old))]
    ListedTwice,
}

fn main() {}
