// The sections of the console. An entry shows when its list command is the caller's; a section without entries does not.

import {
  IconActivity, IconApps, IconAddressBook, IconCloudComputing, IconDatabase, IconHome2, IconNetwork, IconPhoto, IconServer2, IconSettings, IconTools, IconUsersGroup,
} from "@tabler/icons-react";
import type { Model, Noun } from "../api/model";

export interface Entry {
  /** Address below /client. */
  to: string;
  /** A noun, or a key of the words. */
  noun?: Noun;
  label?: string;
}
export interface Section {
  id: string;
  icon: typeof IconHome2;
  entries: Entry[];
}

/** List commands by section; `=path` is a page that is no list, named by nav.path; `=path:command` for those who may call that. */
const PLAN: [string, typeof IconHome2, string[]][] = [
  ["compute", IconCloudComputing, ["listVirtualMachines", "listVMSnapshot", "listAffinityGroups", "listInstanceGroups", "listAutoScaleVmGroups", "listKubernetesClusters", "listSSHKeyPairs", "listUserData", "listVnfAppliances"]],
  ["storage", IconDatabase, ["listVolumes", "listSnapshots", "listSnapshotPolicies", "listBackups", "listBackupSchedule", "listSharedFileSystems", "listBuckets"]],
  ["network", IconNetwork, ["=topology:listNetworks", "listNetworks", "listVPCs", "listSecurityGroups", "listPublicIpAddresses", "listFirewallRules", "listPortForwardingRules", "listLoadBalancerRules", "listIpForwardingRules", "listNetworkACLLists", "listRemoteAccessVpns", "listVpnConnections", "listVpnCustomerGateways", "listVpnGateways", "listVpnUsers", "listStaticRoutes", "listGlobalLoadBalancerRules"]],
  ["images", IconPhoto, ["listTemplates", "listIsos", "listKubernetesSupportedVersions"]],
  ["activity", IconActivity, ["listAsyncJobs", "listEvents", "listAlerts", "listUsageRecords"]],
  ["projects", IconApps, ["listProjects", "listProjectInvitations", "listProjectRoles"]],
  ["infra", IconServer2, ["=infrastructure:listClusters", "listZones", "listPods", "listClusters", "listHosts", "listStoragePools", "listImageStores", "listSystemVms", "listRouters", "listPhysicalNetworks", "listVlanIpRanges", "listManagementServers", "listRollingMaintenance", "listUnmanagedInstances", "=capacityplan:listHosts", "listObjectStoragePools", "listRegions"]],
  ["offerings", IconAddressBook, ["listServiceOfferings", "listDiskOfferings", "listBackupOfferings", "listNetworkOfferings", "listVPCOfferings"]],
  ["identity", IconUsersGroup, ["listDomains", "listAccounts", "listUsers", "listRoles", "listResourceLimits", "listUserKeys", "listLdapConfigurations"]],
  ["settings", IconSettings, ["listConfigurations", "listOsTypes", "listGuestOsMapping", "listHypervisorCapabilities", "listGuiThemes", "=certificates:issueCertificate", "listStorageProviders", "listDeploymentPlanners"]],
  ["tools", IconTools, ["=commands", "=nouns", "listWebhooks"]],
];

export function sectionsOf(model: Model): Section[] {
  return PLAN.map(([id, icon, names]) => ({
    id,
    icon,
    entries: names.flatMap((name): Entry[] => {
      if (name.startsWith("=")) {
        const [path, needs] = name.slice(1).split(":");
        return !needs || model.commands.has(needs) ? [{ to: `/${path}`, label: `nav.${path}` }] : [];
      }
      const noun = model.nouns.get(name);
      return noun ? [{ to: `/${noun.slug}`, noun }] : [];
    }),
  })).filter((s) => s.entries.length);
}
