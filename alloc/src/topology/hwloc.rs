//! What libhwloc says.
//!
//! The crate `hwloc2` brings the library and the layout of its objects. Its own handle can neither take a
//! description nor list NUMA nodes (it panics on their negative depth), so the handle here is ours: six
//! functions of hwloc's stable 2.x interface (`hwloc.h`).

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};

use hwloc2::{Bitmap, ObjectType, TopologyObject};

use super::{NodeId, RawCore, RawTopology};

/// `HWLOC_OBJ_CORE` and `HWLOC_OBJ_PU` of `hwloc_obj_type_t`.
const OBJ_CORE: c_int = 2;
const OBJ_PU: c_int = 3;
/// `HWLOC_TYPE_DEPTH_NUMANODE`: memory objects hang beside the tree, at a virtual depth.
const DEPTH_NUMANODE: c_int = -3;

// SAFETY: declared as in hwloc.h 2.x; linked by the crate hwloc2.
unsafe extern "C" {
    fn hwloc_get_api_version() -> c_uint;
    fn hwloc_topology_init(topology: *mut *mut c_void) -> c_int;
    fn hwloc_topology_set_synthetic(topology: *mut c_void, description: *const c_char) -> c_int;
    fn hwloc_topology_load(topology: *mut c_void) -> c_int;
    fn hwloc_topology_destroy(topology: *mut c_void);
    fn hwloc_topology_is_thissystem(topology: *mut c_void) -> c_int;
    fn hwloc_get_type_depth(topology: *mut c_void, kind: c_int) -> c_int;
    fn hwloc_get_nbobjs_by_depth(topology: *mut c_void, depth: c_int) -> c_uint;
    fn hwloc_get_obj_by_depth(topology: *mut c_void, depth: c_int, index: c_uint) -> *mut TopologyObject;
}

/// This machine, or the one that hwloc's environment variables describe; the flag tells whether it is this
/// one.
pub(super) fn detect() -> Result<(RawTopology, bool), String> {
    let mut handle = Handle::new()?;
    handle.load()?;
    // SAFETY: the handle is loaded.
    let this_system = unsafe { hwloc_topology_is_thissystem(handle.0) } == 1;
    Ok((handle.read()?, this_system))
}

/// The machine that `description` describes.
pub(super) fn describe(description: &str) -> Result<RawTopology, String> {
    let text = CString::new(description).map_err(|_| "it contains a zero byte".to_owned())?;
    let mut handle = Handle::new()?;
    // SAFETY: the handle is initialised and not yet loaded; the text ends in 0 and is copied by the library.
    if unsafe { hwloc_topology_set_synthetic(handle.0, text.as_ptr()) } != 0 {
        return Err("hwloc can't parse it; an example: 'numa:2 core:4 pu:1'".to_owned());
    }
    handle.load()?;
    handle.read()
}

/// A topology of the library, destroyed on drop.
struct Handle(*mut c_void);

impl Handle {
    fn new() -> Result<Self, String> {
        // SAFETY: takes nothing and returns a constant.
        let version = unsafe { hwloc_get_api_version() };
        // Objects have another layout in other major versions.
        if version >> 16 != 2 {
            return Err(format!("libhwloc speaks version {version:#x} of its interface; 2.x is needed"));
        }
        let mut handle = std::ptr::null_mut();
        // SAFETY: the pointer is written on success.
        if unsafe { hwloc_topology_init(&raw mut handle) } != 0 {
            return Err(format!("initialising failed: {}", std::io::Error::last_os_error()));
        }
        Ok(Self(handle))
    }

    fn load(&mut self) -> Result<(), String> {
        // SAFETY: the handle is initialised, and loaded here only, once.
        if unsafe { hwloc_topology_load(self.0) } != 0 {
            return Err(format!("loading failed: {}", std::io::Error::last_os_error()));
        }
        Ok(())
    }

    fn objects(&self, depth: c_int) -> impl Iterator<Item = &TopologyObject> {
        // SAFETY: the handle is loaded; the library answers 0 for a depth that it doesn't have.
        let count = unsafe { hwloc_get_nbobjs_by_depth(self.0, depth) };
        (0..count).filter_map(move |index| {
            // SAFETY: the object, if any, lives and stays unchanged as long as the handle; hwloc2 declares
            // its layout.
            unsafe { hwloc_get_obj_by_depth(self.0, depth, index).as_ref() }
        })
    }

    fn read(&self) -> Result<RawTopology, String> {
        // SAFETY: the handle is loaded.
        let depth = |kind| unsafe { hwloc_get_type_depth(self.0, kind) };
        // Virtual machines may hide their cores: then each hardware thread counts as one.
        let cores_depth = Some(depth(OBJ_CORE)).filter(|d| *d >= 0).unwrap_or_else(|| depth(OBJ_PU));
        let cores: Vec<RawCore> = self.objects(cores_depth).map(raw_core).collect();
        if cores.iter().all(|core| core.pus.is_empty()) {
            return Err("it lists no cores".to_owned());
        }
        let memory_bytes = self
            .objects(DEPTH_NUMANODE)
            .map(|node| (NodeId(node.os_index()), node.total_memory()))
            .collect::<BTreeMap<_, _>>();
        Ok(RawTopology { cores, memory_bytes })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed here only.
        unsafe { hwloc_topology_destroy(self.0) }
    }
}

fn raw_core(object: &TopologyObject) -> RawCore {
    let mut core = RawCore {
        node: NodeId(object.nodeset().and_then(|set| lowest(&set)).unwrap_or(0)),
        package: 0,
        pus: object.cpuset().map(members).unwrap_or_default(),
        l2_bytes: 0,
        l3: None,
    };
    let mut above = object.parent();
    while let Some(object) = above {
        let cache_bytes = || object.cache_attributes().map_or(0, |cache| cache.size);
        match object.object_type() {
            ObjectType::L2Cache => core.l2_bytes = cache_bytes(),
            ObjectType::L3Cache => {
                core.l3 = object.cpuset().and_then(|set| lowest(&set)).map(|pu| (pu, cache_bytes()));
            }
            ObjectType::Package => core.package = object.os_index(),
            _ => {}
        }
        above = object.parent();
    }
    core
}

fn lowest(set: &Bitmap) -> Option<u32> {
    u32::try_from(set.first()).ok()
}

/// The numbers in a set; none of an infinite one.
fn members(set: Bitmap) -> Vec<u32> {
    if set.last() < 0 { Vec::new() } else { set.into_iter().collect() }
}
