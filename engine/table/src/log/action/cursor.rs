//! Walking a simd-json tape.

use simd_json::{Node, StaticNode};

use super::map::StringMap;

/// What is wrong with a field. Boxed: it travels through every result of parsing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault(Box<Wrong>);

#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    field: String,
    detail: String,
}

impl Fault {
    pub(crate) fn new(detail: impl Into<String>) -> Self {
        Self(Box::new(Wrong { field: String::new(), detail: detail.into() }))
    }

    /// The same fault seen from the object around it.
    fn under(mut self, name: &str) -> Self {
        let field = &mut self.0.field;
        if !field.is_empty() {
            field.insert(0, '.');
        }
        field.insert_str(0, name);
        self
    }

    /// Where it is, from the outermost object, and what was found and what was expected.
    pub(crate) fn into_parts(self) -> (String, String) {
        (self.0.field, self.0.detail)
    }
}

pub(crate) type Parsed<T> = Result<T, Fault>;

/// A value that must stand at most once in its object.
pub(crate) struct Slot<T> {
    value: Option<T>,
    seen: bool,
}

impl<T> Slot<T> {
    pub(crate) const fn new() -> Self {
        Self { value: None, seen: false }
    }

    /// Takes what was read; `None` is a JSON null.
    pub(crate) fn put(&mut self, value: Option<T>) -> Parsed<()> {
        if self.seen {
            return Err(Fault::new("stands twice; a field stands once in its object"));
        }
        (self.value, self.seen) = (value, true);
        Ok(())
    }

    pub(crate) fn take(self) -> Option<T> {
        self.value
    }

    pub(crate) fn need(self, name: &str) -> Parsed<T> {
        self.value.ok_or_else(|| Fault::new("is missing").under(name))
    }
}

/// The nodes from a value on.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'t, 'i> {
    nodes: &'t [Node<'i>],
}

impl<'t, 'i> Cursor<'t, 'i> {
    pub(crate) fn new(nodes: &'t [Node<'i>]) -> Self {
        Self { nodes }
    }

    fn next(&mut self) -> Parsed<&'t Node<'i>> {
        let (first, rest) = self.nodes.split_first().ok_or_else(|| Fault::new("ends early"))?;
        self.nodes = rest;
        Ok(first)
    }

    /// Passes over one value, whatever it is.
    pub(crate) fn skip(&mut self) -> Parsed<()> {
        if let Node::Object { count, .. } | Node::Array { count, .. } = *self.next()? {
            self.nodes = self.nodes.get(count..).ok_or_else(|| Fault::new("ends early"))?;
        }
        Ok(())
    }

    pub(crate) fn is_object(&self) -> bool {
        matches!(self.nodes.first(), Some(Node::Object { .. }))
    }

    /// Reads an object member by member: `member` gets the key and must read or skip the value.
    #[inline]
    pub(crate) fn object(&mut self, mut member: impl FnMut(&'i str, &mut Self) -> Parsed<()>) -> Parsed<()> {
        let Node::Object { len, .. } = *self.next()? else {
            return Err(Fault::new("is no object, as it should be"));
        };
        for _ in 0..len {
            let Node::String(key) = *self.next()? else {
                return Err(Fault::new("has a key that is no string"));
            };
            member(key, self).map_err(|e| e.under(key))?;
        }
        Ok(())
    }

    /// Reads an object unless null stands there.
    pub(crate) fn opt<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<Option<T>> {
        if matches!(self.nodes.first(), Some(Node::Static(StaticNode::Null))) {
            self.next()?;
            return Ok(None);
        }
        read(self).map(Some)
    }

    pub(crate) fn opt_str(&mut self) -> Parsed<Option<&'i str>> {
        match self.next()? {
            Node::String(text) => Ok(Some(text)),
            Node::Static(StaticNode::Null) => Ok(None),
            other => Err(wrong(other, "a string")),
        }
    }

    pub(crate) fn opt_bool(&mut self) -> Parsed<Option<bool>> {
        match self.next()? {
            Node::Static(StaticNode::Bool(b)) => Ok(Some(*b)),
            Node::Static(StaticNode::Null) => Ok(None),
            other => Err(wrong(other, "true or false")),
        }
    }

    pub(crate) fn opt_i64(&mut self) -> Parsed<Option<i64>> {
        let node = self.next()?;
        match node {
            Node::Static(StaticNode::I64(n)) => Ok(Some(*n)),
            Node::Static(StaticNode::U64(n)) => {
                i64::try_from(*n).map(Some).map_err(|_| wrong(node, "a whole number of at most 63 bits"))
            }
            Node::Static(StaticNode::Null) => Ok(None),
            other => Err(wrong(other, "a whole number")),
        }
    }

    /// A count or size: a whole number that is not negative, of at most 63 bits.
    pub(crate) fn opt_u64(&mut self) -> Parsed<Option<u64>> {
        let Some(n) = self.opt_i64()? else { return Ok(None) };
        u64::try_from(n).map(Some).map_err(|_| Fault::new(format!("is {n}, but can't be negative")))
    }

    /// As [`Cursor::opt_u64`], of 31 bits.
    pub(crate) fn opt_u32(&mut self) -> Parsed<Option<u32>> {
        let Some(n) = self.opt_u64()? else { return Ok(None) };
        let small = i32::try_from(n).map_err(|_| Fault::new(format!("is {n}, more than 31 bits hold")))?;
        Ok(Some(small as u32))
    }

    pub(crate) fn opt_strings(&mut self) -> Parsed<Option<Vec<String>>> {
        self.opt(|c| {
            let node = c.next()?;
            let Node::Array { len, .. } = node else { return Err(wrong(node, "an array of strings")) };
            (0..*len)
                .map(|_| match c.next()? {
                    Node::String(text) => Ok((*text).to_owned()),
                    other => Err(wrong(other, "a string")),
                })
                .collect()
        })
    }

    /// An object of strings and nulls.
    pub(crate) fn opt_map(&mut self) -> Parsed<Option<StringMap>> {
        self.opt(|c| {
            let node = c.next()?;
            let Node::Object { len, count } = node else { return Err(wrong(node, "an object of strings")) };
            // Two nodes an entry exactly when no value is nested.
            if *count != 2 * len {
                return Err(Fault::new("holds objects or arrays, but its values must be strings or null"));
            }
            let (pairs, rest) = c.nodes.split_at_checked(*count).ok_or_else(|| Fault::new("ends early"))?;
            c.nodes = rest;
            for pair in pairs.chunks_exact(2) {
                match (&pair[0], &pair[1]) {
                    (Node::String(_), Node::String(_) | Node::Static(StaticNode::Null)) => {}
                    (Node::String(key), other) => return Err(wrong(other, "a string or null").under(key)),
                    _ => return Err(Fault::new("has a key that is no string")),
                }
            }
            let text = |node: &Node<'i>| if let Node::String(text) = node { Some(*text) } else { None };
            StringMap::build(pairs.chunks_exact(2).map(|p| (text(&p[0]).unwrap_or_default(), text(&p[1]))))
                .map_err(|e| Fault::new(e.0))
        })
    }

    /// An object of anything; what is no string is kept as its JSON.
    pub(crate) fn opt_loose_map(&mut self) -> Parsed<Option<StringMap>> {
        self.opt(|c| {
            let mut pairs: Vec<(&str, Option<String>)> = Vec::new();
            c.object(|key, c| {
                let value = match c.nodes.first() {
                    Some(Node::String(_) | Node::Static(StaticNode::Null)) => c.opt_str()?.map(str::to_owned),
                    _ => {
                        let mut text = String::new();
                        c.json(&mut text)?;
                        Some(text)
                    }
                };
                pairs.push((key, value));
                Ok(())
            })?;
            StringMap::build(pairs.iter().map(|(k, v)| (*k, v.as_deref()))).map_err(|e| Fault::new(e.0))
        })
    }

    /// Writes one value as JSON again. Nesting is bounded by the parser.
    fn json(&mut self, out: &mut String) -> Parsed<()> {
        match *self.next()? {
            Node::String(text) => quote(text, out),
            Node::Static(value) => out.push_str(&value.to_string()),
            Node::Object { len, .. } => {
                out.push('{');
                for i in 0..len {
                    if i > 0 {
                        out.push(',');
                    }
                    self.json(out)?;
                    out.push(':');
                    self.json(out)?;
                }
                out.push('}');
            }
            Node::Array { len, .. } => {
                out.push('[');
                for i in 0..len {
                    if i > 0 {
                        out.push(',');
                    }
                    self.json(out)?;
                }
                out.push(']');
            }
        }
        Ok(())
    }

    /// A value without members, as the statistics' minima and maxima are.
    pub(crate) fn scalar(&mut self) -> Parsed<Node<'i>> {
        let node = *self.next()?;
        match node {
            Node::Object { .. } | Node::Array { .. } => Err(wrong(&node, "a single value")),
            scalar => Ok(scalar),
        }
    }
}

fn quote(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn wrong(found: &Node<'_>, expected: &str) -> Fault {
    let found = match found {
        Node::String(text) => format!("the string {:?}", text.chars().take(40).collect::<String>()),
        Node::Object { .. } => "an object".to_owned(),
        Node::Array { .. } => "an array".to_owned(),
        Node::Static(value) => value.to_string(),
    };
    Fault::new(format!("is {found}, where {expected} is expected"))
}
