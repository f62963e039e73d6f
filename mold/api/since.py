"""Since when the API has what: version -> commands, and parameters of older commands. Facts, for `listApis`."""

from __future__ import annotations

import re
from functools import cache

SINCE: dict[str, str] = {
    "3.0.0": (
        "activateProject addAccountToProject addNetworkServiceProvider addSwift addTrafficType "
        "assignVirtualMachine authorizeSecurityGroupEgress createLBStickinessPolicy createNetworkOffering "
        "createPhysicalNetwork createProject createStorageNetworkIpRange deleteAccountFromProject "
        "deleteLBStickinessPolicy deleteNetworkOffering deleteNetworkServiceProvider deletePhysicalNetwork "
        "deleteProject deleteProjectInvitation deleteStorageNetworkIpRange deleteTrafficType ldapConfig "
        "listCapacity(clusterid,fetchlatest,sortby) listHypervisorCapabilities listLBStickinessPolicies "
        "listNetworkServiceProviders listPhysicalNetworks listProjectAccounts listProjectInvitations "
        "listProjects listStorageNetworkIpRange listSupportedNetworkServices listSwifts "
        "listTrafficTypeImplementors listTrafficTypes migrateVolume restoreVirtualMachine "
        "revokeSecurityGroupEgress suspendProject updateHypervisorCapabilities updateNetworkServiceProvider "
        "updatePhysicalNetwork updateProject updateProjectInvitation updateStorageNetworkIpRange "
        "updateStoragePool updateTrafficType "
    ),
    "3.0.1": (
        "ldapRemove listOsCategories(name) listOsTypes(description) listSystemVms(storageid) "
        "startVirtualMachine(hostid) "
    ),
    "4.0": (
        "markDefaultZoneForAccount "
    ),
    "4.0.0": (
        "createTags deleteTags listTags "
    ),
    "4.1.0": (
        "listApis "
    ),
    "4.2": (
        "createVMFromBackup(displayvm) deployVirtualMachine(displayvm) deployVnfAppliance(displayvm) "
        "listResourceDetails "
    ),
    "4.2.0": (
        "addImageStore addLdapConfiguration cloneNetworkOffering(details) "
        "configureInternalLoadBalancerElement createInternalLoadBalancerElement createLBHealthCheckPolicy "
        "createLoadBalancer createNetworkOffering(details) createPortableIpRange createVMSnapshot "
        "deleteImageStore deleteLBHealthCheckPolicy deleteLdapConfiguration deleteLoadBalancer "
        "deleteSecondaryStagingStore deleteVMSnapshot ldapCreateAccount listImageStores "
        "listInternalLoadBalancerElements listLBHealthCheckPolicies listLdapConfigurations listLdapUsers "
        "listLoadBalancers listNetworkIsolationMethods listSecondaryStagingStores listVMSnapshot "
        "revertToVMSnapshot searchLdap "
    ),
    "4.2.1": (
        "destroyVirtualMachine(expunge) "
    ),
    "4.3": (
        "createVMFromBackup(details) createVPC(start) deployVirtualMachine(details) "
        "deployVnfAppliance(details) generateAlert listAlerts(name) listFirewallRules(networkid) "
        "listPortForwardingRules(networkid) listRemoteAccessVpns(id,networkid) "
        "listResourceDetails(fordisplay) listVolumes(storageid) listVolumesMetrics(storageid) listZones(tags) "
        "listZonesMetrics(tags) updateVolume(state,storageid) "
    ),
    "4.3.0": (
        "importLdapUsers updateCloudToUseObjectStore "
    ),
    "4.4": (
        "addResourceDetail(fordisplay) assignToLoadBalancerRule(vmidipmap) associateIpAddress(fordisplay) "
        "cloneServiceOffering(customizediops,hypervisorsnapshotreserve,maxiops,miniops) "
        "cloneVPCOffering(servicecapabilitylist) createAutoScaleVmGroup(fordisplay) "
        "createAutoScaleVmProfile(fordisplay) createEgressFirewallRule(fordisplay) "
        "createFirewallRule(fordisplay) createLBHealthCheckPolicy(fordisplay) "
        "createLBStickinessPolicy(fordisplay) createLoadBalancer(fordisplay) "
        "createLoadBalancerRule(fordisplay) createNetworkACL(fordisplay) createNetworkACLList(fordisplay) "
        "createPortForwardingRule(fordisplay) createRemoteAccessVpn(fordisplay) "
        "createServiceOffering(customizediops,hypervisorsnapshotreserve,maxiops,miniops) "
        "createSnapshotPolicy(fordisplay) createVMFromBackup(deploymentplanner,rootdisksize) "
        "createVPC(fordisplay) createVPCOffering(servicecapabilitylist) createVpnConnection(fordisplay) "
        "createVpnGateway(fordisplay) deployVirtualMachine(deploymentplanner,rootdisksize) "
        "deployVnfAppliance(deploymentplanner,rootdisksize) getVirtualMachineUserData "
        "listAutoScaleVmGroups(fordisplay) listAutoScaleVmProfiles(fordisplay,serviceofferingid,zoneid) "
        "listEgressFirewallRules(fordisplay) listFirewallRules(fordisplay) "
        "listLBHealthCheckPolicies(fordisplay,id) listLBStickinessPolicies(fordisplay) "
        "listLoadBalancerRules(fordisplay) listLoadBalancers(fordisplay) listNetworkACLLists(fordisplay) "
        "listNetworkACLs(fordisplay) listNetworks(displaynetwork) listNics(fordisplay) "
        "listPortForwardingRules(fordisplay) listPublicIpAddresses(fordisplay) "
        "listRemoteAccessVpns(fordisplay) listResourceDetails(value) listSnapshotPolicies(fordisplay) "
        "listTemplates(parenttemplateid) listVPCs(fordisplay) "
        "listVirtualMachines(displayvm,ids,serviceofferingid) "
        "listVirtualMachinesMetrics(displayvm,ids,serviceofferingid) "
        "listVnfAppliances(displayvm,ids,serviceofferingid) listVnfTemplates(parenttemplateid) "
        "listVolumes(diskofferingid,displayvolume) listVolumesMetrics(diskofferingid,displayvolume) "
        "listVpnConnections(fordisplay) listVpnGateways(fordisplay) moveNetworkAclItem(customid) "
        "removeFromLoadBalancerRule(vmidipmap) startVirtualMachine(deploymentplanner) "
        "updateAutoScaleVmGroup(customid,fordisplay) updateAutoScaleVmProfile(customid,fordisplay) "
        "updateEgressFirewallRule updateEgressFirewallRule(customid,fordisplay) updateFirewallRule "
        "updateFirewallRule(customid,fordisplay) updateIpAddress(customid,fordisplay) "
        "updateIpv6FirewallRule(customid,fordisplay) updateLBHealthCheckPolicy "
        "updateLBHealthCheckPolicy(customid,fordisplay) updateLBStickinessPolicy "
        "updateLBStickinessPolicy(customid,fordisplay) updateLoadBalancer(customid,fordisplay) "
        "updateLoadBalancerRule(customid,fordisplay) updateNetwork(customid) "
        "updateNetworkACLItem(customid,fordisplay) updateNetworkACLList "
        "updateNetworkACLList(customid,fordisplay) updatePortForwardingRule(customid,fordisplay,id) "
        "updateRemoteAccessVpn updateRemoteAccessVpn(customid,fordisplay) updateRoutingFirewallRule(customid) "
        "updateSecurityGroup(customid) updateSnapshotPolicy(customid,fordisplay) "
        "updateVPC(customid,fordisplay) updateVirtualMachine(customid,instancename,name) "
        "updateVolume(chaininfo,customid) updateVpnConnection updateVpnConnection(customid,fordisplay) "
        "updateVpnGateway updateVpnGateway(customid,fordisplay) "
    ),
    "4.4.0": (
        "addGuestOs addGuestOsMapping listGuestOsMapping removeGuestOs removeGuestOsMapping updateGuestOs "
        "updateGuestOsMapping updateLoadBalancer "
    ),
    "4.5": (
        "updatePortForwardingRule(vmguestip) "
    ),
    "4.5.0": (
        "addGloboDnsHost "
    ),
    "4.6": (
        "createVpnCustomerGateway(projectid) "
    ),
    "4.6.0": (
        "addBigSwitchBcfDevice deleteBigSwitchBcfDevice destroyVolume(expunge) getUploadParamsForTemplate "
        "getUploadParamsForVolume linkDomainToLdap listBigSwitchBcfDevices removeRawUsageRecords "
    ),
    "4.7.0": (
        "addImageStoreS3 quotaBalance quotaCredits quotaEmailTemplateList quotaEmailTemplateUpdate "
        "quotaIsEnabled quotaStatement quotaSummary quotaTariffList quotaTariffUpdate quotaUpdate "
    ),
    "4.9+": (
        "deleteTemplate(forced) deleteVnfTemplate(forced) "
    ),
    "4.9": (
        "listSnapshots(ids) listTemplates(ids) listVMSnapshot(vmsnapshotids) listVnfTemplates(ids) "
        "listVolumes(ids) listVolumesMetrics(ids) "
    ),
    "4.9.0": (
        "changeOutOfBandManagementPassword configureOutOfBandManagement createRole createRolePermission "
        "deleteRole deleteRolePermission disableOutOfBandManagementForCluster "
        "disableOutOfBandManagementForHost disableOutOfBandManagementForZone "
        "enableOutOfBandManagementForCluster enableOutOfBandManagementForHost "
        "enableOutOfBandManagementForZone issueOutOfBandManagementPowerAction listRolePermissions listRoles "
        "updateRole updateRolePermission "
    ),
    "4.9.3": (
        "listClustersMetrics listHostsMetrics listInfrastructure listStoragePoolsMetrics "
        "listVirtualMachinesMetrics listVolumesMetrics listZonesMetrics "
    ),
    "4.10.0": (
        "createSnapshotFromVMSnapshot getUserKeys "
    ),
    "4.11": (
        "addAnnotation configureHAForHost createVMFromBackup(datadiskofferinglist) "
        "deployVirtualMachine(datadiskofferinglist) deployVnfAppliance(datadiskofferinglist) "
        "disableHAForCluster disableHAForHost disableHAForZone enableHAForCluster enableHAForHost "
        "enableHAForZone listAnnotations listHostHAProviders listHostHAResources moveUser removeAnnotation "
        "updateHost(annotation) updateRolePermission(permission,ruleid) "
    ),
    "4.11.0": (
        "cloudianIsEnabled cloudianSsoLogin issueCertificate linkAccountToLdap listCAProviders "
        "listCaCertificate migrateNetwork migrateVPC provisionCertificate revokeCertificate "
        "uploadTemplateDirectDownloadCertificate "
    ),
    "4.11.0.0": (
        "createManagementNetworkIpRange deleteManagementNetworkIpRange "
    ),
    "4.11.1": (
        "restartNetwork(makeredundant) "
    ),
    "4.12": (
        "createVMFromBackup(extraconfig) deployVirtualMachine(extraconfig) deployVnfAppliance(extraconfig) "
        "updateVirtualMachine(extraconfig) "
    ),
    "4.12.0": (
        "destroyVirtualMachine(volumeids) "
    ),
    "4.12.0.0": (
        "runDiagnostics "
    ),
    "4.13": (
        "cloneDiskOffering(zoneid) cloneNetworkOffering(zoneid) "
        "cloneServiceOffering(customized,maxcpunumber,maxmemory,mincpunumber,minmemory,zoneid) "
        "cloneVPCOffering(zoneid) createDiskOffering(zoneid) createNetworkOffering(zoneid) "
        "createServiceOffering(customized,maxcpunumber,maxmemory,mincpunumber,minmemory,zoneid) "
        "createVMFromBackup(copyimagetags) createVPCOffering(zoneid) "
        "deployVirtualMachine(clusterid,copyimagetags,podid) deployVnfAppliance(copyimagetags) "
        "getUploadParamsForIso listDetailOptions listDiskOfferings(zoneid) listLdapUsers(userfilter) "
        "listNetworkOfferings(domainid) listServiceOfferings(zoneid) listVPCOfferings(zoneid) "
        "revokeTemplateDirectDownloadCertificate updateDiskOffering(domainid,zoneid) "
        "updateNetworkOffering(zoneid) updateServiceOffering(zoneid) updateVPCOffering(zoneid) "
    ),
    "4.13.0": (
        "listPublicIpAddresses(networkid) "
    ),
    "4.13.2": (
        "listIsos(showunique) listLdapConfigurations(listall) listTemplates(showunique) "
        "listVnfTemplates(showunique) "
    ),
    "4.14": (
        "addUserToProject cloneDiskOffering(cachemode) cloneServiceOffering(cachemode) "
        "createDiskOffering(cachemode) createServiceOffering(cachemode) "
        "listInternalLoadBalancerVMs(fetchhealthcheckresults) listRouters(fetchhealthcheckresults) "
    ),
    "4.14.0": (
        "assignVirtualMachineToBackupOffering createBackup createBackupSchedule deleteBackup "
        "deleteBackupOffering deleteBackupSchedule destroyVolume getRouterHealthCheckResults "
        "importBackupOffering importUnmanagedInstance listBackupOfferings listBackupProviderOfferings "
        "listBackupProviders listBackupSchedule listBackups listUnmanagedInstances recoverVolume "
        "removeVirtualMachineFromBackupOffering restoreBackup restoreVolumeFromBackupAndAttachToVM "
        "updateBackupSchedule "
    ),
    "4.14.0.0": (
        "createVMFromBackup(bootmode,boottype) deployVirtualMachine(bootmode,boottype) "
        "deployVnfAppliance(bootmode,boottype) getDiagnosticsData updateSecurityGroup "
    ),
    "4.15": (
        "cloneDiskOffering(storagepolicy) cloneServiceOffering(rootdisksize,storagepolicy) "
        "createDiskOffering(storagepolicy) createServiceOffering(rootdisksize,storagepolicy) "
        "createVMFromBackup(nicnetworklist,properties) deployVirtualMachine(nicnetworklist,properties) "
        "deployVnfAppliance(nicnetworklist,properties) listServiceOfferings(cpunumber,cpuspeed,memory) "
        "listTemplates(details) listUsageRecords(isrecursive) listVirtualMachines(haenable,securitygroupid) "
        "listVirtualMachinesMetrics(haenable,securitygroupid) listVnfAppliances(haenable,securitygroupid) "
        "listVnfTemplates(details) "
        "updateDiskOffering(bytesreadrate,bytesreadratemax,bytesreadratemaxlength,byteswriterate,byteswriteratemax,byteswriteratemaxlength,cachemode,iopsreadrate,iopsreadratemax,iopsreadratemaxlength,iopswriterate,iopswriteratemax,iopswriteratemaxlength,tags) "
        "updateHost(name) updateStoragePool(name) uploadSslCert(enabledrevocationcheck) "
    ),
    "4.15.0": (
        "createProject(userid) createProjectRole createProjectRolePermission deleteProjectRole "
        "deleteProjectRolePermission deleteUserFromProject importRole listImageStores(readonly) "
        "listProjectRolePermissions listProjectRoles migrateSecondaryStorageData unmanageVirtualMachine "
        "updateImageStore updateProjectRole updateProjectRolePermission "
    ),
    "4.15.0.0": (
        "createVMFromBackup(bootintosetup) deployVirtualMachine(bootintosetup) "
        "deployVnfAppliance(bootintosetup) rebootVirtualMachine(bootintosetup) "
        "startVirtualMachine(bootintosetup) "
    ),
    "4.15.1": (
        "attachIso(forced) createVpnCustomerGateway(ikeversion,splitconnections) detachIso(forced) "
        "getUploadParamsForTemplate(deployasis) registerTemplate(deployasis) registerVnfTemplate(deployasis) "
        "syncStoragePool updateVpnCustomerGateway(ikeversion,splitconnections) "
    ),
    "4.16": (
        "cloneDiskOffering(details) cloneNetworkOffering(enable) cloneServiceOffering(dynamicscalingenabled) "
        "cloneVPCOffering(enable) createDiskOffering(details) createNetwork(routerip,routeripv6) "
        "createNetworkOffering(enable) createServiceOffering(dynamicscalingenabled) "
        "createVMFromBackup(dynamicscalingenabled) createVPCOffering(enable) "
        "deployVirtualMachine(dynamicscalingenabled) deployVnfAppliance(dynamicscalingenabled) "
        "listRouters(healthchecksfailed) updateAnnotationVisibility "
        "updateServiceOffering(hosttags,storagetags) updateVolume(name) "
    ),
    "4.16.0": (
        "addAnnotation(adminsonly) deleteProject(cleanup) listAnnotations(annotationfilter,userid) "
        "listVirtualMachines(clusterid) migrateSystemVm(autoselect,storageid) "
        "migrateVirtualMachine(autoselect) rebootRouter(forced) rebootSystemVm(forced) "
        "rebootVirtualMachine(forced) resetConfiguration updateBackupOffering "
        "updateHypervisorCapabilities(maxdatavolumeslimit,maxhostspercluster,storagemotionenabled,vmsnapshotenabled) "
        "updateStorageCapabilities updateVirtualMachine(userdata) updateVlanIpRange "
    ),
    "4.16.0.0": (
        "cancelHostAsDegraded declareHostAsDegraded deleteResourceIcon listResourceIcon "
        "listVirtualMachines(showicon) listVirtualMachinesMetrics(showicon) listVnfAppliances(showicon) "
        "updatePodManagementNetworkIpRange uploadResourceIcon "
    ),
    "4.17": (
        "changeOfferingForVolume changeServiceForVirtualMachine(automigrate,maxiops,miniops,shrinkok) "
        "cloneDiskOffering(disksizestrictness) cloneServiceOffering(diskofferingid,diskofferingstrictness) "
        "createDiskOffering(disksizestrictness) createServiceOffering(diskofferingid,diskofferingstrictness) "
        "createVMFromBackup(keypairs,overridediskofferingid) "
        "deployVirtualMachine(keypairs,overridediskofferingid) "
        "deployVnfAppliance(keypairs,overridediskofferingid) listDiskOfferings(storageid,volumeid) "
        "listVirtualMachines(backupofferingid) listVirtualMachinesMetrics(backupofferingid) "
        "listVirtualMachinesUsageHistory listVnfAppliances(backupofferingid) releaseIpAddress "
        "reserveIpAddress resetSSHKeyForVirtualMachine(keypairs) "
        "scaleVirtualMachine(automigrate,maxiops,miniops,shrinkok) "
    ),
    "4.17.0": (
        "cloneNetworkOffering(internetprotocol) cloneVPCOffering(internetprotocol) "
        "createNetwork(associatednetworkid) createNetworkOffering(internetprotocol) createNetworkPermissions "
        "createPrivateGateway createPrivateGateway(associatednetworkid) createVPCOffering(internetprotocol) "
        "listDbMetrics listEvents(resourceid,resourcetype) listGuestNetworkIpv6Prefixes listGuestVlans "
        "listManagementServersMetrics listNetworkPermissions "
        "listNetworks(associatednetworkid,networkfilter,vlan) listTemplateDirectDownloadCertificates "
        "listUsageServerMetrics listVirtualMachines(accumulate) listVirtualMachinesMetrics(accumulate) "
        "listVnfAppliances(accumulate) patchSystemVm provisionTemplateDirectDownloadCertificate "
        "removeNetworkPermissions resetNetworkPermissions restartNetwork(livepatch) restartVPC(livepatch) "
    ),
    "4.17.0.0": (
        "createGuestNetworkIpv6Prefix deleteGuestNetworkIpv6Prefix "
    ),
    "4.18": (
        "cloneDiskOffering(encrypt) cloneServiceOffering(encryptroot) createDiskOffering(encrypt) "
        "createServiceOffering(encryptroot) "
        "createVMFromBackup(nicmultiqueuenumber,nicpackedvirtqueuesenabled,userdatadetails,userdataid) "
        "deleteUserData "
        "deployVirtualMachine(nicmultiqueuenumber,nicpackedvirtqueuesenabled,userdatadetails,userdataid) "
        "deployVnfAppliance(nicmultiqueuenumber,nicpackedvirtqueuesenabled,userdatadetails,userdataid) "
        "listDiskOfferings(encrypt) listServiceOfferings(encryptroot) listUserData listVPCOfferings(domainid) "
        "listVolumes(listsystemvms) listVolumesMetrics(listsystemvms) registerUserData "
        "updateVirtualMachine(userdatadetails,userdataid) "
    ),
    "4.18.0": (
        "createAutoScalePolicy(name) createAutoScaleVmGroup(name) createAutoScaleVmProfile(userdata) "
        "createConsoleEndpoint createCounter(provider) "
        "createNetwork(dns1,dns2,ip6dns1,ip6dns2,privatemtu,publicmtu) "
        "createVPC(dns1,dns2,ip6dns1,ip6dns2,publicmtu) createZone(isedge) deleteAutoScaleVmGroup(cleanup) "
        "linkUserDataToTemplate listAutoScalePolicies(name) listAutoScaleVmGroups(name) "
        "listConfigurationGroups listConfigurations(group,parent,subgroup) listCounters(provider) "
        "listSystemVmsUsageHistory listUserTwoFactorAuthenticatorProviders "
        "listVirtualMachines(autoscalevmgroupid) listVirtualMachinesMetrics(autoscalevmgroupid) "
        "listVnfAppliances(autoscalevmgroupid) listVolumesUsageHistory resetUserDataForVirtualMachine "
        "setupUserTwoFactorAuthentication startVirtualMachine(considerlasthost) updateAutoScalePolicy(name) "
        "updateAutoScaleVmGroup(name) updateAutoScaleVmProfile(otherdeployparams,serviceofferingid,userdata) "
        "updateCondition updateNetwork(dns1,dns2,ip6dns1,ip6dns2,privatemtu,publicmtu) updateVPC(publicmtu) "
        "validateUserTwoFactorAuthenticationCode "
    ),
    "4.18.0.0": (
        "assignVolume createLoadBalancerRule(cidrlist) deleteBackup(forced) listVirtualMachines(userdata) "
        "listVirtualMachinesMetrics(userdata) listVnfAppliances(userdata) quotaTariffCreate quotaTariffDelete "
        "quotaTariffList(enddate,listall,name) quotaTariffUpdate(activationrule,description,enddate,name) "
        "updateUser(mandate2fa) "
    ),
    "4.18.1": (
        "createAutoScaleVmProfile(userdatadetails,userdataid) listOsTypes(fordisplay) "
        "listStoragePools(storagecustomstats) listStoragePoolsMetrics(storagecustomstats) "
        "updateAutoScaleVmProfile(userdatadetails,userdataid) "
    ),
    "4.18.2": (
        "addKubernetesSupportedVersion(directdownload) "
    ),
    "4.19": (
        "createNetwork(sourcenatipaddress) createVPC(sourcenatipaddress) listAsyncJobs(managementserverid) "
        "listDiskOfferings(state,storagetype) listIsos(imagestoreid,storageid) listQuarantinedIps "
        "listServiceOfferings(state,storagetype) listSnapshots(imagestoreid,storageid) "
        "listTemplates(imagestoreid,storageid) removeQuarantinedIp updateNetwork(sourcenatipaddress) "
        "updateQuarantinedIp updateVPC(sourcenatipaddress) "
    ),
    "4.19.0": (
        "addGuestOsMapping(forced,osmappingcheckenabled) addObjectStoragePool "
        "addVirtualMachinesToKubernetesCluster cancelShutdown copySnapshot createBucket "
        "createKubernetesCluster(clustertype) createSecondaryStorageSelector createSnapshot(zoneids) "
        "createTemplate(account,domainid,zoneid) createVMSchedule deleteBucket "
        "deleteKubernetesCluster(cleanup,expunge) deleteOauthProvider deleteObjectStoragePool "
        "deleteSnapshot(zoneid) deleteVMSchedule deleteVnfTemplate deployVnfAppliance "
        "disassociateIpAddress(ipaddress) downloadImageStoreObject executeClusterDrsPlan "
        "generateClusterDrsPlan getHypervisorGuestOsNames importVm listBuckets listClusterDrsPlan "
        "listEvents(archived) listImageStoreObjects listKubernetesClusters(clustertype) listNetworkProtocols "
        "listOauthProvider listObjectStoragePools listSecondaryStorageSelectors "
        "listSnapshots(locationtype,showunique) listStoragePoolObjects listTemplates(isvnf,templatetype) "
        "listVMSchedule listVirtualMachines(isvnf) listVirtualMachinesMetrics(isvnf) listVmsForImport "
        "listVnfAppliances(isvnf) listVnfTemplates listVnfTemplates(isvnf,templatetype) listZones(ids) "
        "listZonesMetrics(ids) migrateResourceToAnotherSecondaryStorage "
        "migrateVirtualMachineWithVolume(autoselect) oauthlogin prepareForShutdown readyForShutdown "
        "registerOauthProvider registerTemplate(templatetype) registerVnfTemplate "
        "registerVnfTemplate(templatetype) removeSecondaryStorageSelector "
        "removeVirtualMachinesFromKubernetesCluster resetPasswordForVirtualMachine(password) triggerShutdown "
        "updateBucket updateGuestOsMapping(osmappingcheckenabled) updateOauthProvider updateObjectStoragePool "
        "updateProject(name) updateSecondaryStorageSelector updateStoragePool(details,url) updateVMSchedule "
        "updateVnfTemplate verifyOAuthCodeAndGetUser "
    ),
    "4.19.0.0": (
        "createVMFromBackup(password) deployVirtualMachine(password) deployVnfAppliance(password) moveDomain "
    ),
    "4.19.1": (
        "changeStoragePoolScope checkVolume importVolume linkAccountToLdap(roleid) "
        "listAffectedVmsForStorageScopeChange listVnfAppliances listVolumes(isencrypted,serviceofferingid) "
        "listVolumesForImport listVolumesMetrics(isencrypted,serviceofferingid) "
        "restoreVirtualMachine(details,diskofferingid,expunge,rootdisksize) unmanageVolume "
        "updateHypervisorCapabilities(hypervisor,hypervisorversion) "
    ),
    "4.19.2": (
        "importVm(importinstancehostid) "
    ),
    "4.20": (
        "addCluster(arch) addKubernetesSupportedVersion(arch) cloneServiceOffering(purgeresources) "
        "createServiceOffering(purgeresources) getUploadParamsForTemplate(arch) listIsos(arch) "
        "listKubernetesSupportedVersions(arch) listTemplates(arch) listVnfTemplates(arch) "
        "purgeExpungedResources quotaPresetVariablesList registerIso(arch) registerTemplate(arch) "
        "registerVnfTemplate(arch) updateCluster(arch) updateIso(arch) updateServiceOffering(purgeresources) "
        "updateTemplate(arch) updateVnfTemplate(arch) "
    ),
    "4.20.0": (
        "addBackupRepository changeBgpPeersForNetwork changeBgpPeersForVpc changeSharedFileSystemDiskOffering "
        "changeSharedFileSystemServiceOffering "
        "cloneNetworkOffering(fornsx,networkmode,nsxsupportlb,nsxsupportsinternallb,routingmode,specifyasnumber) "
        "cloneVPCOffering(fornsx,networkmode,nsxsupportlb,routingmode,specifyasnumber) createASNRange "
        "createBgpPeer createIpv4SubnetForGuestNetwork createIpv4SubnetForZone "
        "createNetwork(asnumber,bgppeerids,cidrsize) "
        "createNetworkOffering(fornsx,networkmode,nsxsupportlb,nsxsupportsinternallb,routingmode,specifyasnumber) "
        "createRoutingFirewallRule createSharedFileSystem createVPC(asnumber,bgppeerids,cidrsize) "
        "createVPCOffering(fornsx,networkmode,nsxsupportlb,routingmode,specifyasnumber) createWebhook "
        "dedicateBgpPeer dedicateIpv4SubnetForZone deleteASNRange deleteBackupRepository deleteBgpPeer "
        "deleteIpv4SubnetForGuestNetwork deleteIpv4SubnetForZone deleteRoutingFirewallRule "
        "deleteTemplate(issystem) deleteVnfTemplate(issystem) deleteWebhook deleteWebhookDelivery "
        "deleteWebhookFilter destroySharedFileSystem disableRole enableRole executeWebhookDelivery "
        "expungeSharedFileSystem extractSnapshot extractSnapshot(id,zoneid) listASNRanges listASNumbers "
        "listAccounts(tag) listBackupRepositories listBgpPeers listCapacity(tag) "
        "listDiskOfferings(virtualmachineid) listDomains(tag) listIpv4SubnetsForGuestNetwork "
        "listIpv4SubnetsForZone listNetworkOfferings(routingmode) listPublicIpAddresses(forsystemvms) "
        "listResourceLimits(tag) listRoutingFirewallRules listServiceOfferings(templateid) "
        "listSharedFileSystemProviders listSharedFileSystems listWebhookDeliveries listWebhooks "
        "quotaValidateActivationRule recoverSharedFileSystem releaseASNumber releaseBgpPeer "
        "releaseIpv4SubnetForZone restartSharedFileSystem startSharedFileSystem stopSharedFileSystem "
        "updateBgpPeer updateIpv4SubnetForZone updateResourceCount(tag) updateResourceLimit(tag) "
        "updateRoutingFirewallRule updateSharedFileSystem updateTemplate(templatetag) "
        "updateVirtualMachine(deleteprotection) updateVnfTemplate(templatetag) updateVolume(deleteprotection) "
        "updateWebhook "
    ),
    "4.20.0.0": (
        "forgotPassword quotaConfigureEmail quotaListEmailConfiguration quotaTariffCreate(position) "
        "quotaTariffUpdate(position) resetPassword "
    ),
    "4.20.1": (
        "deleteBackupSchedule(id) listClusters(arch) listClustersMetrics(arch) listHosts(arch) "
        "listHostsMetrics(arch) listRouters(arch) listSystemVms(arch) listVirtualMachines(arch,userdataid) "
        "listVirtualMachinesMetrics(arch,userdataid) listVnfAppliances(arch,userdataid) "
        "resizeVolume(automigrate) "
    ),
    "4.20.1.0": (
        "listAccounts(apikeyaccess) listManagementServers(peers) listManagementServersMetrics(peers) "
        "listUsers(apikeyaccess) updateAccount(apikeyaccess) updateUser(apikeyaccess) "
    ),
    "4.20.2": (
        "createTemplate(arch) "
    ),
    "4.20.3": (
        "listHosts(version) listHostsMetrics(version) listManagementServers(version) "
        "listManagementServersMetrics(version) "
    ),
    "4.21": (
        "addObjectStoragePool(size) cloneServiceOffering(gpucount,gpudisplay,vgpuprofileid) "
        "createServiceOffering(gpucount,gpudisplay,vgpuprofileid) createVMFromBackup(clusterid,podid) "
        "deployVirtualMachine(snapshotid,volumeid) deployVnfAppliance(snapshotid,volumeid) "
        "updateIso(forceupdateostype) updateObjectStoragePool(size) updateTemplate(forceupdateostype) "
        "updateVnfTemplate(forceupdateostype) "
    ),
    "4.21.0": (
        "addBaremetalHost(externaldetails,storageaccessgroups) "
        "addCluster(extensionid,externaldetails,storageaccessgroups) addCustomAction "
        "addHost(externaldetails,storageaccessgroups) addNodesToKubernetesCluster "
        "addNodesToKubernetesCluster(id) addOsCategory cancelMaintenance cloneNetworkOffering(provider) "
        "cloneServiceOffering(externaldetails,leaseduration,leaseexpiryaction) cloneVPCOffering(provider) "
        "configureStorageAccess configureStorageAccess(storageaccessgroups) "
        "copySnapshot(storageids,usestoragereplication) createBackup(description,name,quiescevm) "
        "createBackupSchedule(maxbackups,quiescevm) createExtension createGpuCard createGpuDevice "
        "createKubernetesCluster(cniconfigdetails,cniconfigurationid,etcdnodes,hypervisor,nodeofferings,nodetemplates) "
        "createNetworkOffering(provider) createPod(storageaccessgroups) "
        "createServiceOffering(externaldetails,leaseduration,leaseexpiryaction) createSnapshot(storageids) "
        "createSnapshotPolicy(storageids,usestoragereplication) createStaticRoute(nexthop,vpcid) "
        "createStoragePool(storageaccessgroups) createVMFromBackup "
        "createVMFromBackup(datadisksdetails,externaldetails,leaseduration,leaseexpiryaction) "
        "createVPCOffering(provider) createVgpuProfile createVlanIpRange(provider) "
        "createVpnGateway(ipaddressid) createZone(storageaccessgroups) deleteCniConfiguration "
        "deleteCustomAction deleteExtension deleteGpuCard deleteGpuDevice deleteOsCategory deleteVgpuProfile "
        "deployVirtualMachine(datadisksdetails,externaldetails,leaseduration,leaseexpiryaction) "
        "deployVnfAppliance(datadisksdetails,externaldetails,leaseduration,leaseexpiryaction) "
        "discoverGpuDevices getUploadParamsForTemplate(forcks) "
        "listBackups(backupofferingid,listvmdetails,name) listClusters(storageaccessgroup) "
        "listClustersMetrics(storageaccessgroup) listCniConfiguration listConsoleSessions listCustomActions "
        "listEvents(state) listExtensions listGpuCards listGpuDevices "
        "listHosts(managementserverid,storageaccessgroup) "
        "listHostsMetrics(managementserverid,storageaccessgroup) listIsos(oscategoryid) "
        "listOsCategories(arch,isfeatured,isiso,isvnf,showicon,zoneid) listPods(storageaccessgroup) "
        "listPublicIpAddresses(forprovider) listServiceOfferings(gpuenabled,vgpuprofileid) "
        "listStorageAccessGroups listStoragePools(storageaccessgroup) "
        "listStoragePoolsMetrics(storageaccessgroup) listTemplates(extensionid,forcks,isready,oscategoryid) "
        "listVgpuProfiles listVirtualMachines(extensionid,gpuenabled,leased) "
        "listVirtualMachinesMetrics(extensionid,gpuenabled,leased) "
        "listVnfAppliances(extensionid,gpuenabled,leased) "
        "listVnfTemplates(extensionid,forcks,isready,oscategoryid) listZones(storageaccessgroup) "
        "listZonesMetrics(storageaccessgroup) manageGpuDevice prepareForMaintenance quotaCreditsList "
        "registerCniConfiguration registerExtension registerTemplate(extensionid,externaldetails,forcks) "
        "registerVnfTemplate(extensionid,externaldetails,forcks) removeNodesFromKubernetesCluster "
        "runCustomAction scaleKubernetesCluster(nodeofferings) unmanageGpuDevice unregisterExtension "
        "updateBackupSchedule(maxbackups,quiescevm) updateCluster(externaldetails) updateCustomAction "
        "updateExtension updateGpuCard updateGpuDevice updateGuestOs(oscategoryid) "
        "updateHost(externaldetails) updateOsCategory updateServiceOffering(externaldetails) "
        "updateTemplate(forcks) updateVgpuProfile updateVirtualMachine(leaseduration,leaseexpiryaction) "
        "updateVnfTemplate(forcks) "
    ),
    "4.21.0.0": (
        "createGuiTheme listGuiThemes listUsers(usersource) removeGuiTheme updateGuiTheme "
    ),
    "4.22": (
        "assignCertToLoadBalancer(forced) importVm(extraparams,forceconverttopool) listImportVmTasks "
        "updateLoadBalancerRule(cidrlist) "
    ),
    "4.22.0": (
        "addBackupRepository(crosszoneinstancecreation) createKubernetesCluster(enablecsi) "
        "getUploadParamsForTemplate(templatetype) listBackupSchedule(id) listNetworks(name) "
        "unmanageVirtualMachine(forced,hostid) updateBackupRepository updateHost(cleanupexternaldetails) "
        "updateServiceOffering(cleanupexternaldetails) "
    ),
    "4.22.1": (
        "createExtension(reservedresourcedetails) createVolume(storageid) importNetworkACL "
        "importVm(osid,usevddk) listAsyncJobs(resourceid,resourcetype) listOsTypes(ids) "
        "queryAsyncJobResult(resourceid,resourcetype) updateExtension(reservedresourcedetails) "
    ),
    "4.23": (
        "listVolumes(kmskeyid) listVolumesMetrics(kmskeyid) "
    ),
    "4.23.0": (
        "addDnsServer addWebhookFilter associateDnsZoneToNetwork cloneBackupOffering cloneDiskOffering "
        "cloneNetworkOffering cloneServiceOffering cloneVPCOffering cloneVPCOffering(conservemode) "
        "createBackup(isolated) createBackupOffering createBackupSchedule(isolated) createDnsRecord "
        "createDnsZone createHSMProfile createImageTransfer createKMSKey "
        "createKubernetesCluster(nodeaffinitygroups) createNetwork(keepmacaddressonpublicnic) "
        "createResourceSchedule createUser(passwordchangerequired) "
        "createVMFromBackup(quickrestore,rootdiskkmskeyid) createVPC(keepmacaddressonpublicnic) "
        "createVPCOffering(conservemode) createVolume(kmskeyid) deleteDnsRecord deleteDnsServer deleteDnsZone "
        "deleteHSMProfile deleteKMSKey deleteResourceSchedule deleteUserKeys deleteVirtualMachineCheckpoint "
        "deployVirtualMachine(blankinstance,rootdiskkmskeyid) deployVnfAppliance(rootdiskkmskeyid) "
        "destroyVirtualMachine(forced) detachIso(id) disassociateDnsZoneFromNetwork "
        "downloadValidationScreenshot finalizeBackup finalizeImageTransfer finishBackupChain "
        "importBackupOffering(domainid) listBackupServiceJobs listBackups(status) listCapabilities(domainid) "
        "listConfigurations(managementserverid) listDnsProviders listDnsRecords listDnsServers listDnsZones "
        "listExtensions(type) listHSMProfiles listImageTransfers listKMSKeys "
        "listOauthProvider(domain,domainid) listResourceSchedule listUserKeyRules listUserKeys "
        "listVirtualMachineCheckpoints listWebhookFilters migrateVolumesToKMS provisionCertificate(forced) "
        "quotaStatement(projectid,showresources) quotaSummary(accountid,accountstatetoshow,projectid) "
        "registerOauthProvider(domain,domainid) resetConfiguration(managementserverid) "
        "restoreBackup(hostid,quickrestore) restoreVolumeFromBackupAndAttachToVM(hostid,quickrestore) "
        "rotateKMSKey startBackup unlinkDomainFromLdap updateBackupOffering(domainid) "
        "updateBackupSchedule(isolated) updateConfiguration(managementserverid) updateDnsServer updateDnsZone "
        "updateHSMProfile updateKMSKey updateKubernetesClusterAffinityGroups "
        "updateKubernetesClusterAffinityGroups(nodeaffinitygroups) updateNetwork(keepmacaddressonpublicnic) "
        "updateOauthProvider(domain,domainid) updateRegisteredExtension updateResourceSchedule "
        "updateUser(passwordchangerequired) updateVPC(keepmacaddressonpublicnic) "
        "updateVirtualMachine(cleanupextraconfig) verifyOAuthCodeAndGetUser(domain,domainid) "
    ),
    "4.23.0.0": (
        "quotaResourceStatement "
    ),
}


@cache
def _versions() -> dict[tuple[str, str], str]:
    out: dict[tuple[str, str], str] = {}
    for version, words in SINCE.items():
        for name, params in re.findall(r"(\w+)(?:\(([^)]*)\))?", words):
            for param in params.split(","):
                out[name, param] = version
    return out


def since(command: str, param: str = "") -> str:
    """The version of the API that a command, or one of its parameters, came with; empty when it was always there."""
    return _versions().get((command, param), "")
